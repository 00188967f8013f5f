"""The publication to be reproduced: its figures, a verdict on each, and its contradictions."""
