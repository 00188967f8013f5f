"""Records of measurements: their types, their files, and which of them may be compared."""
