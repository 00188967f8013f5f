"""Where each class of a tree has its leaf."""


def leaf_paths(tree):
    """Return the path of each class's leaf, by class."""
    leaves = {
        child: (*node.path, index)
        for node in tree.nodes
        for index, child in enumerate(tree.children(node))
        if isinstance(child, int)
    }
    return tuple(leaves[label] for label in range(tree.num_classes))
