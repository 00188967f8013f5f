"""Compressed models: another model's trained network, quantised or pruned in one more step."""
