"""Layout: where the nodes, leaves and edges of a tree are in its picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from trunk.traffic import Edge
from trunk.tree import NodePath, Tree

# Inches. A row holds a leaf's name; more leaves make rows lower, but never too low to read.
_LOWEST_ROW, _HIGHEST_ROW, _ALL_ROWS = 0.24, 0.42, 8.0
_GAP = 0.05
# Of the height of all rows, what the ribbons of all images take.
_FILLED = 0.6


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Heights in the picture of a tree, in inches below its top.

    Attributes:
        edges: The traffic, by the child's path.
        middles: Of each node and leaf, by path.
        starts: Where the ribbon of an edge leaves its node, by the child's path: its middle.
        inches_per_percent: How wide ribbons are.
        bottom: Of the lowest row.
        depth: Edges on the longest path.
    """

    edges: Mapping[NodePath, Edge]
    middles: Mapping[NodePath, float]
    starts: Mapping[NodePath, float]
    inches_per_percent: float
    bottom: float
    depth: int

    def thickness(self, path: NodePath) -> float:
        """Return how wide the ribbon to a node or leaf is; the root's is that of all images."""
        return self.inches_per_percent * (self.edges[path].share_percent if path else 100)


def layout_tree(tree: Tree, edges: Sequence[Edge], top: float) -> Layout:
    """Give each leaf a row of its own, and each node the middle between its outermost leaves.

    Ribbons leave a node one below the other, so that together they are as wide as what it gets.

    Args:
        tree: The tree.
        edges: Its traffic, depth first, from `trunk.traffic.edge_traffic`.
        top: Of the first row.
    """
    leaves = [edge for edge in edges if len(edge.classes) == 1]
    row = min(_HIGHEST_ROW, max(_LOWEST_ROW, _ALL_ROWS / len(leaves)))
    scale = _FILLED * row * len(leaves) / 100
    heights = [max(row, leaf.share_percent * scale + _GAP) for leaf in leaves]
    tops = list(accumulate(heights, initial=top))
    rows = {
        leaf.child: (above, below)
        for leaf, (above, below) in zip(leaves, pairwise(tops), strict=True)
    }
    for node in tree.nodes:
        own = [rows[tree.leaf_paths[label]] for label in node.classes]
        rows[node.path] = (min(own)[0], max(own)[1])
    middles = {path: (above + below) / 2 for path, (above, below) in rows.items()}
    return Layout(
        edges={edge.child: edge for edge in edges},
        middles=middles,
        starts=_starts(edges, middles, scale),
        inches_per_percent=scale,
        bottom=tops[-1],
        depth=max(len(leaf.child) for leaf in leaves),
    )


def _starts(
    edges: Sequence[Edge], middles: Mapping[NodePath, float], scale: float
) -> dict[NodePath, float]:
    """Return the heights at which ribbons leave their nodes."""
    below: dict[NodePath, float] = {}
    for edge in edges:
        below[edge.parent] = below.get(edge.parent, 0.0) + scale * edge.share_percent
    free = {parent: middles[parent] - width / 2 for parent, width in below.items()}
    starts: dict[NodePath, float] = {}
    for edge in edges:
        width = scale * edge.share_percent
        starts[edge.child] = free[edge.parent] + width / 2
        free[edge.parent] += width
    return starts
