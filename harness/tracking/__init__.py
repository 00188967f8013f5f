"""Experiment tracking: what a cell tells TensorBoard, MLflow, W&B, ML-Dash and others."""
