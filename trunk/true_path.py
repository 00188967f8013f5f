"""The true path: what each node on an image's way to its own leaf should have chosen.

log p(class) is the sum of the log-probabilities of the choices along its path, so training all
nodes on their true paths together maximises the likelihood that `Trunk.forward` gives.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from trunk.nodes import NodeModule
from trunk.routing import Trunk
from trunk.tree import Groups, NodePath

Branches = Mapping[NodePath, tuple[Groups, NodeModule]]
"""Nodes with a network by path: the classes of each child, and the network."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the images that reach a node on their true path choose there.

    Attributes:
        rows: Which of the images they are, int64 M.
        logits: M×children.
        targets: The right child of each, int64 M.
    """

    rows: Tensor
    logits: Tensor
    targets: Tensor


def along_true_paths(
    branches: Branches, start: NodePath, inputs: Tensor, labels: Tensor
) -> Iterator[Choices]:
    """Run every image through the nodes on its true path, parents before children.

    Args:
        branches: The node to start at and all below it.
        start: Its path.
        inputs: What it takes: images or its parent's maps, N×C×H×W.
        labels: Classes that are below it, int64 N.
    """
    waiting = [(start, inputs, torch.arange(len(labels), device=labels.device))]
    while waiting:
        path, inputs, rows = waiting.pop()
        groups, network = branches[path]
        maps, logits = network(inputs)
        targets = child_of_class(groups).to(labels.device)[labels[rows]]
        yield Choices(rows=rows, logits=logits, targets=targets)
        for index, group in enumerate(groups):
            chosen = (targets == index).nonzero()[:, 0] if len(group) > 1 else targets[:0]
            if len(chosen):
                waiting.append(((*path, index), maps[chosen], rows[chosen]))


@functools.cache
def child_of_class(groups: Groups) -> Tensor:
    """Return the index of the child that has each class, int64; -1 where none has it."""
    children = torch.full((1 + max(map(max, groups)),), -1)
    for index, group in enumerate(groups):
        children[list(group)] = index
    return children


@dataclass(frozen=True, kw_only=True)
class TruePathLoss:
    """The objective of joint training: cross entropy summed over each image's true path.

    An image is right when every choice on its path is.
    """

    label_smoothing: float

    def __call__(self, network: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean loss, and which images are right, of a `Trunk` on a batch."""
        trunk = cast("Trunk", network)
        loss = torch.zeros((), device=inputs.device)
        right = torch.ones_like(labels, dtype=torch.bool)
        for choices in along_true_paths(trunk.branches(), (), inputs, labels):
            loss = loss + nn.functional.cross_entropy(
                choices.logits.float(),
                choices.targets,
                reduction="sum",
                label_smoothing=self.label_smoothing,
            )
            right[choices.rows] &= choices.logits.argmax(1) == choices.targets
        return loss / len(labels), right
