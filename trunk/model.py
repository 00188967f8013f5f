"""TRUNK, a tree of small CNNs (Goel et al., IEEE Design & Test, doi 10.1109/MDAT.2022.3217016)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

from torch import nn

from harness.errors import RequestError
from harness.jobs import Job
from harness.spec import ModelSpec
from trunk.growing import grow
from trunk.nodes import feature_shape
from trunk.published import load_published
from trunk.routing import Trunk
from trunk.tree import Node, NodeNetwork, Tree, tree_from_json, tree_to_json


def build(num_classes: int, in_channels: int, pretrained: bool) -> nn.Module:
    """Build a tree of two levels, neighbouring classes together, with random weights.

    It stands for the trees that are grown where nothing is known of them yet.
    """
    del pretrained
    return _two_levels(num_classes, (in_channels, SPEC.image_size, SPEC.image_size))


def resize(network: nn.Module, image_size: int) -> nn.Module:
    """Build the same tree for images of another size."""
    tree = cast("Trunk", network).tree
    channels = tree.root.network.input_shape[0]
    return _two_levels(tree.num_classes, (channels, image_size, image_size))


def describe(network: nn.Module, make: Callable[[], nn.Module]) -> dict[str, Any]:
    """Return the tree of a network as JSON holds it."""
    del make
    return tree_to_json(cast("Trunk", network).tree)


def rebuild(structure: dict[str, Any], make: Callable[[], nn.Module]) -> nn.Module:
    """Build the network of a tree that `describe` returned, with random weights."""
    del make
    return Trunk(tree_from_json(structure))


def load_published_for(job: Job, num_classes: int) -> tuple[nn.Module, str]:
    """Return the published tree of the job's data set with its weights, and a digest of them."""
    trunk, digest = load_published(job, num_classes)
    size, wanted = job.settings.image_size, trunk.tree.root.network.input_shape[1]
    if size != wanted:
        raise RequestError(f"image_size is {size}, the published tree takes {wanted} pixels")
    return trunk, digest


def _two_levels(num_classes: int, image_shape: tuple[int, int, int]) -> Trunk:
    width = max(2, math.isqrt(num_classes))
    classes = range(num_classes)
    groups = tuple(tuple(classes[start : start + width]) for start in classes[::width])
    if len(groups) == 1:
        groups = tuple((label,) for label in classes)
    root = _node((), groups, "root", image_shape)
    shape = feature_shape(root.network)
    below = [
        _node((index,), tuple((label,) for label in group), "other", shape)
        for index, group in enumerate(groups)
        if len(group) > 1
    ]
    return Trunk(Tree(nodes=(root, *below)))


def _node(
    path: tuple[int, ...],
    groups: tuple[tuple[int, ...], ...],
    layers: str,
    shape: tuple[int, int, int],
) -> Node:
    network = NodeNetwork(backbone="compact", layers=layers, input_shape=shape, outputs=len(groups))
    return Node(path=path, groups=groups, network=network)


SPEC = ModelSpec(
    label="TRUNK",
    build=build,
    image_size=32,
    resize=resize,
    fit=grow,
    section="tree",
    describe=describe,
    rebuild=rebuild,
    load_published=load_published_for,
)
