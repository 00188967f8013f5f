"""Running: from a job to a record."""
