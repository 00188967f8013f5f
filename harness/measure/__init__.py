"""Measures of cost and accuracy, one file each, which take modules and tensors.

No measure knows a model or a data set by name. Units are in the names of functions and fields.
"""
