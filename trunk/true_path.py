"""The true path: the choices that lead an image from the root to its own leaf.

log p(class) is the sum of the log-probabilities of the choices along its path, so training all
nodes on their true paths together maximises the likelihood that `Trunk.forward` gives.

A teacher, one network for all classes, can soften the targets: Hinton et al., 2015,
arXiv:1503.02531, at temperature 1. Its probability of a child is that of the child's classes,
divided by that of the node's.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from trunk.nodes import NodeModule
from trunk.routing import Trunk
from trunk.tree import Groups, NodePath, Tree

Branches = Mapping[NodePath, tuple[Groups, NodeModule]]
"""Nodes with a network by path: the classes of each child, and the network."""

Priors = Mapping[Groups, Tensor]
"""A number for each child, by the groups of its node."""


def along_true_paths(
    branches: Branches, start: NodePath, inputs: Tensor, labels: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor, Groups]]:
    """Run every image through the nodes on its true path, parents before children.

    The inputs N×C×H×W, images or maps, are those of the node to start at; their labels are classes
    below it. Yield for each node that M of the images reach: which of the images they are, int64
    M; the logits, M×children; the right child of each, int64 M; the groups of the node.
    """
    waiting = [(start, inputs, torch.arange(len(labels), device=labels.device))]
    while waiting:
        path, inputs, rows = waiting.pop()
        groups, network = branches[path]
        maps, logits = network(inputs)
        targets = child_of_class(groups, labels.device)[labels[rows]]
        yield rows, logits, targets, groups
        for index, group in enumerate(groups):
            chosen = (targets == index).nonzero()[:, 0] if len(group) > 1 else targets[:0]
            if len(chosen):
                waiting.append(((*path, index), maps[chosen], rows[chosen]))


@functools.cache
def child_of_class(groups: Groups, device: torch.device | str = "cpu") -> Tensor:
    """Return the index of the child that has each class, int64; -1 where none has it."""
    children = torch.full((1 + max(map(max, groups)),), -1)
    for index, group in enumerate(groups):
        children[list(group)] = index
    return children.to(device)


def log_priors(tree: Tree, class_counts: Tensor, device: torch.device | str) -> Priors:
    """Return the logarithm of the mean number of images of each child's classes, on a device."""
    counts = class_counts.float()
    means = {
        node.groups: [counts[list(group)].mean() for group in node.groups] for node in tree.nodes
    }
    return {groups: torch.stack(mean).log().to(device) for groups, mean in means.items()}


@dataclass(frozen=True, eq=False)
class Teacher:
    """A network for all classes in evaluation mode, and the share of its opinion in the targets."""

    network: NodeModule
    share: float

    @torch.no_grad()
    def probabilities(self, inputs: Tensor) -> Tensor:
        """Return the probabilities N×classes of images."""
        logits: Tensor = self.network.to(inputs.device)(inputs)[1]
        return logits.float().softmax(1)


def true_path_loss(
    network: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    label_smoothing: float,
    teacher: Teacher | None = None,
    priors: Priors | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the loss of joint training, and which images are right, of a `Trunk` on a batch.

    The loss is the cross entropy summed over each image's true path, averaged over the images. An
    image is right when every choice on its path is.

    With `priors`, as `log_priors` makes them, a child's is added to its logit in the loss, but not
    where images are judged. The tree then learns to choose as if all classes had as many images
    (Menon et al., 2020, arXiv:2007.07314), as does a teacher that was trained by this loss, whose
    probabilities are therefore compared with those of the logits alone.
    """
    entropy = partial(nn.functional.cross_entropy, reduction="sum")
    loss = torch.zeros((), device=inputs.device)
    right = torch.ones_like(labels, dtype=torch.bool)
    branches = cast("Trunk", network).branches()
    taught = teacher.probabilities(inputs) if teacher else None
    for rows, logits, targets, groups in along_true_paths(branches, (), inputs, labels):
        adjusted = logits.float()
        if priors is not None:
            adjusted = adjusted + priors[groups]
        one = entropy(adjusted, targets, label_smoothing=label_smoothing)
        if teacher is not None and taught is not None:
            soft = entropy(logits.float(), _of_children(taught[rows], groups))
            one = (1 - teacher.share) * one + teacher.share * soft
        loss = loss + one
        right[rows] &= logits.argmax(1) == targets
    return loss / len(labels), right


def _of_children(probabilities: Tensor, groups: Groups) -> Tensor:
    """Return the probabilities N×children, within a node, of N×classes probabilities."""
    sums = torch.stack([probabilities[:, list(group)].sum(1) for group in groups], dim=1)
    smallest = torch.finfo(sums.dtype).tiny
    return (sums + smallest) / (sums + smallest).sum(1, keepdim=True)
