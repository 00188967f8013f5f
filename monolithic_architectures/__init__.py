"""The networks to compare: one folder each, found by the `model.py` in it."""
