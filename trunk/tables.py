"""Tables of a tree for the terminal: its traffic, a node's groups, what a class belongs with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from harness.report.table import Column, Table
from trunk.traffic import Edge
from trunk.tree import Node, node_name

Names = Sequence[str]
"""Class names, in the order of the labels."""


def edge_table(edges: Sequence[Edge], names: Names) -> Table:
    """Return the traffic on each edge, a row each."""
    columns = (
        Column[Edge](name="from", get=lambda edge: node_name(edge.parent)),
        Column[Edge](name="to", get=lambda edge: node_name(edge.child)),
        Column[Edge](name="images", get="images", digits=0),
        Column[Edge](name="share %", get="share_percent", digits=2),
        Column[Edge](name="accuracy %", get=_accuracy, digits=2),
        Column[Edge](name="classes", get=lambda edge: _listed(edge.classes, names)),
    )
    return Table.of(edges, columns)


def group_table(node: Node, names: Names) -> Table:
    """Return a node's groups, a row each."""
    rows = [
        (node_name((*node.path, index)), _listed(group, names))
        for index, group in enumerate(node.groups)
    ]
    return Table.of_texts(("child", "classes"), rows, align="l")


def membership_table(node: Node, names: Names, label: int, degrees: Mapping[int, float]) -> Table:
    """Return how much a class belongs with each other class of its node, the most first.

    Args:
        node: The node.
        names: Of all classes of the tree.
        label: The class.
        degrees: By each other class of the node, in (0, 1); above one half: similar.
    """
    (own,) = (group for group in node.groups if label in group)

    def note(other: int) -> str:
        # Classes that are not similar share a group where others between them are.
        return "similar" if degrees[other] > 0.5 else "same group" if other in own else ""

    columns = (
        Column[int](name="class", get=lambda other: names[other]),
        Column[int](name="membership", get=lambda other: degrees[other], digits=4),
        Column[int](name="", get=note),
    )
    return Table.of(sorted(degrees, key=lambda other: (-degrees[other], other)), columns)


def _accuracy(edge: Edge) -> float | str:
    return "no image" if edge.accuracy_percent is None else edge.accuracy_percent


def _listed(labels: Iterable[int], names: Names) -> str:
    return ", ".join(names[label] for label in labels)
