"""What a network costs and how well it does: each measure takes a module and tensors.

No measure knows a model or a data set by name. Each returns a small frozen dataclass with the
units in its names and, where there is more than one way, the method used.
"""
