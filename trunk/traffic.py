"""Traffic: the number of images on each edge of a tree, and of those that belong there.

The predicted class determines the whole path that an image took, so a confusion matrix is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import RequestError
from trunk.tree import NodePath, Tree

Confusion = Sequence[Sequence[int]]
"""Images by true class (row) and predicted class (column)."""


@dataclass(frozen=True, kw_only=True)
class Edge:
    """The images that went from a node to one of its children.

    Attributes:
        classes: The classes below the child, ascending; one where it is a leaf.
        correct: The number of the images whose class lies below the child.
        share_percent: `images` as a share of all images of the matrix.
    """

    parent: NodePath
    child: NodePath
    classes: tuple[int, ...]
    images: int
    correct: int
    share_percent: float

    @property
    def accuracy_percent(self) -> float | None:
        """`correct` as a share of `images`; None where no image went this way."""
        return 100 * self.correct / self.images if self.images else None


def edge_traffic(tree: Tree, confusion: Confusion) -> tuple[Edge, ...]:
    """Return the traffic on each edge, in ascending order of the children's paths: depth first.

    Raises:
        RequestError: The matrix is for another number of classes, or counts no image.
    """
    count = tree.num_classes
    if {len(confusion), *map(len, confusion)} != {count}:
        raise RequestError(
            f"confusion matrix with {len(confusion)} rows: a tree of {count} classes wants "
            f"{count}×{count}"
        )
    if not any(map(any, confusion)):
        raise RequestError("confusion matrix without images: no traffic to speak of")
    images_of_class = [sum(column) for column in zip(*confusion, strict=True)]
    edges = []
    for node in tree.nodes:
        for index, classes in enumerate(node.groups):
            images = sum(images_of_class[label] for label in classes)
            edge = Edge(
                parent=node.path,
                child=(*node.path, index),
                classes=classes,
                images=images,
                correct=sum(confusion[i][j] for i in classes for j in classes),
                share_percent=100 * images / sum(images_of_class),
            )
            edges.append(edge)
    return tuple(sorted(edges, key=lambda edge: edge.child))
