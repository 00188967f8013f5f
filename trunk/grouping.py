"""Grouping: the classes that a node's network confuses share a child.

A. Goel et al., IEEE Design & Test 40(3), 2023, doi 10.1109/MDAT.2022.3217016. The published code
draws 100,000 Bernoulli samples of `membership` and takes the majority. Comparing `membership` with
one half, that is the likelihood with v/n, gives the same groups without chance.

In every function, `likelihood` is the averaged softmax likelihood A of n classes, n×n, and
`volatility` is v: the larger, the fewer classes are similar. A volatility that is no positive
number, and a matrix that is not square and finite, raise `RequestError`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from harness.errors import RequestError
from trunk.tree import Groups


def averaged_softmax(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return the averaged softmax likelihood n×n between a node's classes, in double precision.

    Entry [i, j] is the mean probability of class j over the images of class i.

    Args:
        probabilities: N×n, of each class for each training image.
        labels: N integers in [0, n): the true classes, counted within the node.

    Raises:
        RequestError: A class has no image.
    """
    count = probabilities.shape[1]
    images = torch.bincount(labels, minlength=count)
    if not images.all():
        raise RequestError(f"class {int(images.argmin())} of a node has no training image")
    sums = torch.zeros(count, count, dtype=torch.float64, device=probabilities.device)
    return sums.index_add_(0, labels, probabilities.double()) / images[:, None]


def similar(likelihood: Tensor, volatility: float) -> Tensor:
    """Return which classes i < j are similar, that is A[i, j] > v/n: booleans n×n.

    Only the part of A above the diagonal is read; the result is false everywhere else.
    """
    return torch.triu(likelihood.double() > _threshold(likelihood, volatility), diagonal=1)


def membership(likelihood: Tensor, volatility: float) -> Tensor:
    """Return the degree n×n, in (0, 1), to which class j belongs with class i.

    It is sigmoid((A[i, j] - v/n) · 10·n·v), above one half exactly where A[i, j] > v/n.
    """
    distance = likelihood.double() - _threshold(likelihood, volatility)
    return torch.sigmoid(distance * 10 * len(likelihood) * volatility)


def group_classes(likelihood: Tensor, volatility: float) -> Groups:
    """Return the groups of classes 0 to n-1: the connected components of `similar`.

    Classes ascend within a group; groups are in the order of their smallest class.
    """
    pairs = similar(likelihood, volatility).nonzero().tolist()
    group_of = list(range(len(likelihood)))
    for i, j in pairs:
        joined = {group_of[i], group_of[j]}
        group_of = [min(joined) if group in joined else group for group in group_of]
    return tuple(
        tuple(label for label, group in enumerate(group_of) if group == smallest)
        for smallest in sorted(set(group_of))
    )


def child_groups(likelihood: Tensor, volatility: float) -> Groups:
    """Return the classes of each child of a node: its groups, or single classes.

    Classes that all fall into one group cannot be told apart in steps: they become leaves.
    """
    groups = group_classes(likelihood, volatility)
    return tuple((label,) for label in groups[0]) if len(groups) == 1 else groups


def _threshold(likelihood: Tensor, volatility: float) -> float:
    if not (math.isfinite(volatility) and volatility > 0):
        raise RequestError(f"volatility is {volatility}; it must be a number above 0, such as 1.0")
    shape = tuple(likelihood.shape)
    if len(shape) != 2 or shape[0] != shape[1] or not likelihood.isfinite().all():
        raise RequestError(f"likelihood matrix of shape {shape}: it must be square and finite")
    return volatility / shape[0]
