"""Data sets, one file each: its classes, its statistics, and where its images come from."""
