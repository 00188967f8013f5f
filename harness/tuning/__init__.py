"""A search for each model's recipe, within a budget that is the same for all (`--tune`)."""
