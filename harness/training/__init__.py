"""Training: from a network and images to trained weights, resumable after a kill."""
