"""The one publication that is reproduced: its figures, a verdict on each, its contradictions."""
