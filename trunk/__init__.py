"""TRUNK: a tree of small networks, of which an image pays only for those on its path."""
