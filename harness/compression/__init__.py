"""Compressed models: the trained network of another model, quantised or pruned."""
