"""Records held against what can be found out anew: settings, images, weights, counts, accuracy."""
