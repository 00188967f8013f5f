"""Experiment tracking with TensorBoard, MLflow, W&B, ML-Dash and others."""
