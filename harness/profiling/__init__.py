"""What can be said of a network from its graph alone: no weights, no data, nothing computed."""
