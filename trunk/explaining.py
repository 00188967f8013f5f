"""Texts and tables for the terminal: a tree's traffic, a node's groups, a class's memberships.

In every function, `names` are the names of all classes of the tree, in the order of the labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch

from harness.errors import RequestError, unknown_name
from harness.report.table import Column, Table
from trunk.grouping import membership
from trunk.traffic import Edge
from trunk.tree import Node, Tree, node_name


def find_node(tree: Tree, name: str) -> Node:
    """Return the node of a name, which must have a likelihood and a volatility.

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
    """Return the label of a class of a node; RequestError where it has none of this name."""
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
    """Return how much a class belongs with each other class of a node of known likelihood.

    The degrees, by label, are in (0, 1); above one half, grouping takes the two classes for
    similar.
    """
    likelihood = torch.tensor(node.likelihood, dtype=torch.float64)
    degrees = membership(likelihood, node.volatility or 0.0)
    own = node.classes.index(label)
    # Grouping reads the part above the diagonal only: the lower class of a pair comes first.
    return {
        other: float(degrees[min(own, place), max(own, place)])
        for place, other in enumerate(node.classes)
        if other != label
    }


def edge_table(edges: Sequence[Edge], names: Sequence[str]) -> Table:
    """Return the traffic on each edge, a row each."""

    def accuracy(edge: Edge) -> float | str:
        return "no image" if edge.accuracy_percent is None else edge.accuracy_percent

    columns = (
        Column[Edge](name="from", get=lambda edge: node_name(edge.parent)),
        Column[Edge](name="to", get=lambda edge: node_name(edge.child)),
        Column[Edge](name="images", get="images", digits=0),
        Column[Edge](name="share %", get="share_percent", digits=2),
        Column[Edge](name="accuracy %", get=accuracy, digits=2),
        Column[Edge](name="classes", get=lambda edge: _listed(edge.classes, names)),
    )
    return Table.of(edges, columns)


def group_table(node: Node, names: Sequence[str]) -> Table:
    """Return a node's groups, a row each."""
    rows = [
        (node_name((*node.path, index)), _listed(group, names))
        for index, group in enumerate(node.groups)
    ]
    return Table.of_texts(("child", "classes"), rows, align="l")


def membership_table(
    node: Node, names: Sequence[str], label: int, degrees: Mapping[int, float]
) -> Table:
    """Return the `memberships` of a class of a node, the largest first."""
    (own,) = (group for group in node.groups if label in group)

    def note(other: int) -> str:
        # Classes that are not similar share a group where others link them.
        return "similar" if degrees[other] > 0.5 else "same group" if other in own else ""

    columns = (
        Column[int](name="class", get=lambda other: names[other]),
        Column[int](name="membership", get=lambda other: degrees[other], digits=4),
        Column[int](name="", get=note),
    )
    return Table.of(sorted(degrees, key=lambda other: (-degrees[other], other)), columns)


def _listed(labels: Iterable[int], names: Sequence[str]) -> str:
    return ", ".join(names[label] for label in labels)
