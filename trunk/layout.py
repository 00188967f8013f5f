"""Layout: the places of the nodes, leaves and edges of a tree in its picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from trunk.traffic import Edge
from trunk.tree import NodePath, Tree

# Inches. A row holds a leaf's name; more leaves make rows lower, but never too low to read.
_LOWEST_ROW, _HIGHEST_ROW, _ALL_ROWS = 0.24, 0.42, 8.0
_GAP = 0.05
# The share of the height of all rows that the ribbons of all images take.
_FILLED = 0.6


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Heights in the picture of a tree, in inches below the top of its first row.

    Attributes:
        edges: The traffic, by the child's path.
        middles: The height of each node and leaf, by path.
        starts: The height at which the middle of a ribbon leaves its node, by the child's path.
        inches_per_percent: The width of ribbons.
        depth: The number of edges on the longest path.
    """

    edges: Mapping[NodePath, Edge]
    middles: Mapping[NodePath, float]
    starts: Mapping[NodePath, float]
    inches_per_percent: float
    bottom: float
    depth: int

    def thickness(self, path: NodePath) -> float:
        """Return the width of the ribbon to a node or leaf; the root has that of all images."""
        return self.inches_per_percent * (self.edges[path].share_percent if path else 100)


def layout_tree(tree: Tree, edges: Sequence[Edge]) -> Layout:
    """Give each leaf a row of its own, and each node the middle between its outermost leaves.

    Ribbons leave a node one below the other, so that together they are as wide as the ribbon that
    enters it. The edges are those of `trunk.traffic.edge_traffic`, depth first.
    """
    leaves = [edge for edge in edges if len(edge.classes) == 1]
    row = min(_HIGHEST_ROW, max(_LOWEST_ROW, _ALL_ROWS / len(leaves)))
    scale = _FILLED * row * len(leaves) / 100
    heights = (max(row, leaf.share_percent * scale + _GAP) for leaf in leaves)
    ends = list(accumulate(heights, initial=0.0))
    middles, starts = {}, {}
    for leaf, (above, below) in zip(leaves, pairwise(ends), strict=True):
        middles[leaf.child] = (above + below) / 2
    for node in tree.nodes:
        inside = [i for i, leaf in enumerate(leaves) if leaf.child[: len(node.path)] == node.path]
        middles[node.path] = (ends[inside[0]] + ends[inside[-1] + 1]) / 2
        leaving = [edge for edge in edges if edge.parent == node.path]
        start = middles[node.path] - sum(scale * edge.share_percent for edge in leaving) / 2
        for edge in leaving:
            width = scale * edge.share_percent
            starts[edge.child] = start + width / 2
            start += width
    return Layout(
        edges={edge.child: edge for edge in edges},
        middles=middles,
        starts=starts,
        inches_per_percent=scale,
        bottom=ends[-1],
        depth=max(len(leaf.child) for leaf in leaves),
    )
