"""Records: what measurements leave behind, how it is stored, and what may be compared."""
