"""Explaining: a node and a class by name, and how much the class belongs with the others there."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from harness.errors import RequestError, unknown_name
from trunk.grouping import membership
from trunk.tree import Node, Tree


def find_node(tree: Tree, name: str) -> Node:
    """Return the node of a name, with what its groups were made of.

    Raises:
        RequestError: There is none, or its likelihood or volatility is not known.
    """
    nodes = {node.name: node for node in tree.nodes}
    if name not in nodes:
        raise unknown_name("node", name, nodes)
    node = nodes[name]
    if node.likelihood is None or node.volatility is None:
        raise RequestError(f"node {name}: what its groups were made of is not known")
    return node


def find_class(node: Node, name: str, names: Sequence[str]) -> int:
    """Return the label of a class of a node.

    Args:
        node: The node.
        name: Of the class.
        names: Of all classes of the tree, in the order of the labels.

    Raises:
        RequestError: The node has no such class.
    """
    labels = {names[label]: label for label in node.classes}
    if name not in labels:
        raise unknown_name(f"class of node {node.name}", name, labels)
    return labels[name]


def describe_groups(node: Node) -> str:
    """Return one line on how a node of known volatility came by its groups."""
    volatility, count = node.volatility or 0.0, len(node.classes)
    return (
        f"node {node.name}: {count} classes in {len(node.groups)} groups; similar: likelihood "
        f"above v/n = {volatility:g}/{count} = {volatility / count:.4f}"
    )


def memberships(node: Node, label: int) -> dict[int, float]:
    """Return how much a class belongs with each other class of a node, by label.

    Above one half, grouping takes the two classes for similar.

    Args:
        node: A node whose likelihood and volatility are known.
        label: Of the class.
    """
    likelihood = torch.tensor(node.likelihood, dtype=torch.float64)
    degrees = membership(likelihood, node.volatility or 0.0)
    own = node.classes.index(label)
    # Grouping reads the part above the diagonal only: a pair's lower class first.
    return {
        other: float(degrees[min(own, place), max(own, place)])
        for place, other in enumerate(node.classes)
        if other != label
    }
