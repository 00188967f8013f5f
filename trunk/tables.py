"""Tables of a tree for the terminal: its traffic, a node's groups, what a class belongs with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.markup import escape
from rich.table import Table

from trunk.traffic import Edge
from trunk.tree import Node, node_name

Names = Sequence[str]
"""Class names, in the order of the labels."""


def edge_table(edges: Sequence[Edge], names: Names) -> Table:
    """Return the traffic on each edge, a row each."""
    table = _table(left=("from", "to"), right=("images", "share %", "accuracy %"))
    table.add_column("classes")
    for edge in edges:
        accuracy = edge.accuracy_percent
        table.add_row(
            node_name(edge.parent),
            node_name(edge.child),
            str(edge.images),
            f"{edge.share_percent:.2f}",
            "no image" if accuracy is None else f"{accuracy:.2f}",
            _listed(edge.classes, names),
        )
    return table


def group_table(node: Node, names: Names) -> Table:
    """Return a node's groups, a row each."""
    table = _table(left=("child", "classes"))
    for index, group in enumerate(node.groups):
        table.add_row(node_name((*node.path, index)), _listed(group, names))
    return table


def membership_table(node: Node, names: Names, label: int, degrees: Mapping[int, float]) -> Table:
    """Return how much a class belongs with each other class of its node, the most first.

    Args:
        node: The node.
        names: Of all classes of the tree.
        label: The class.
        degrees: By each other class of the node, in (0, 1); above one half: similar.
    """
    table = _table(left=("class",), right=("membership",))
    table.add_column("")
    (own,) = (group for group in node.groups if label in group)
    for other in sorted(degrees, key=lambda other: (-degrees[other], other)):
        # Classes that are not similar share a group where others between them are.
        note = "similar" if degrees[other] > 0.5 else "same group" if other in own else ""
        table.add_row(escape(names[other]), f"{degrees[other]:.4f}", note)
    return table


def _table(*, left: Iterable[str], right: Iterable[str] = ()) -> Table:
    table = Table(box=None)
    for name in left:
        table.add_column(name)
    for name in right:
        table.add_column(name, justify="right")
    return table


def _listed(labels: Iterable[int], names: Names) -> str:
    return escape(", ".join(names[label] for label in labels))
