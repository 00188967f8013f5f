"""Traffic: how many images take each edge of a tree, and how many of them rightly.

In TRUNK the predicted class tells the whole path that an image took, so a confusion matrix says
all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import RequestError
from trunk.tree import Node, NodePath, Tree

Confusion = Sequence[Sequence[int]]
"""Images by true class (row) and predicted class (column)."""


@dataclass(frozen=True, kw_only=True)
class Edge:
    """What went from a node to one of its children.

    Attributes:
        parent: Path of the node.
        child: Path of the child.
        classes: The classes below the child, ascending; one where it is a leaf.
        images: Images that went this way.
        correct: Those of them whose class lies below the child.
        share_percent: `images` of all images of the matrix.
    """

    parent: NodePath
    child: NodePath
    classes: tuple[int, ...]
    images: int
    correct: int
    share_percent: float

    @property
    def accuracy_percent(self) -> float | None:
        """`correct` of `images`; None where no image went this way."""
        return 100 * self.correct / self.images if self.images else None


def edge_traffic(tree: Tree, confusion: Confusion) -> tuple[Edge, ...]:
    """Return the traffic on each edge, in ascending order of the children's paths: depth first.

    Args:
        tree: The tree that the images were routed through.
        confusion: Of all its classes, in the order of the labels.

    Raises:
        RequestError: The matrix is for another number of classes, or counts no image.
    """
    _check(tree, confusion)
    images_of_class = [sum(column) for column in zip(*confusion, strict=True)]
    edges = [
        _edge(node, index, confusion, images_of_class)
        for node in tree.nodes
        for index in range(len(node.groups))
    ]
    return tuple(sorted(edges, key=lambda edge: edge.child))


def _edge(parent: Node, index: int, confusion: Confusion, images_of_class: Sequence[int]) -> Edge:
    """Return the traffic from a node to its child of this index.

    Args:
        parent: The node.
        index: Of the child.
        confusion: Images by true and predicted class.
        images_of_class: Images by predicted class: the sums of the matrix's columns.
    """
    classes = parent.groups[index]
    images = sum(images_of_class[label] for label in classes)
    return Edge(
        parent=parent.path,
        child=(*parent.path, index),
        classes=classes,
        images=images,
        correct=sum(confusion[true][predicted] for true in classes for predicted in classes),
        share_percent=100 * images / sum(images_of_class),
    )


def _check(tree: Tree, confusion: Confusion) -> None:
    count = tree.num_classes
    if {len(confusion), *map(len, confusion)} != {count}:
        raise RequestError(
            f"confusion matrix with {len(confusion)} rows: a tree of {count} classes wants "
            f"{count}×{count}"
        )
    if not any(map(any, confusion)):
        raise RequestError("confusion matrix without images: no traffic to speak of")
