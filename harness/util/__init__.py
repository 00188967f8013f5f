"""Helpers that know nothing of this project: files, hashes, progress, random state, errors."""
