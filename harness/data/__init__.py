"""Images: reading them, splitting them, preparing them for a network, serving them in batches."""
