"""Verification of records: settings, images, weights, counts and accuracy are recomputed."""
