"""TRUNK, a tree of small CNNs (Goel et al., IEEE Design & Test, doi 10.1109/MDAT.2022.3217016)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

from torch import nn

from harness.settings_spec import Settings, TreeSettings
from harness.spec import ModelSpec
from trunk.growing import grow, set_dropout
from trunk.nodes import Logits, Shape, build_node, feature_shape
from trunk.published import load_published
from trunk.quantized import quantize
from trunk.routing import Trunk
from trunk.tree import Groups, Node, NodeNetwork, NodePath, Tree, tree_from_json, tree_to_json


def build(num_classes: int, in_channels: int, pretrained: bool) -> nn.Module:
    """Build a tree of two levels, neighbouring classes together, with random weights.

    It stands in for the trees that are not grown yet.
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


def first_stage(settings: Settings) -> ModelSpec:
    """Return the model of a root that tells all classes apart, which is what is trained first."""
    tree, size = settings.tree or TreeSettings(), SPEC.input_size(settings)

    def build_root(num_classes: int, in_channels: int, pretrained: bool) -> nn.Module:
        del pretrained
        node = NodeNetwork(
            backbone=tree.backbone,
            layers=tree.root_layers,
            input_shape=(in_channels, size, size),
            outputs=num_classes,
        )
        network = build_node(node)
        set_dropout(network, tree.dropout)
        return Logits(network)

    return ModelSpec(label=SPEC.label, build=build_root, image_size=size)


def _two_levels(num_classes: int, image_shape: Shape) -> Trunk:
    width = max(2, math.isqrt(num_classes))
    classes = range(num_classes)
    groups = tuple(tuple(classes[start : start + width]) for start in classes[::width])
    if len(groups) == 1:
        groups = tuple((label,) for label in classes)
    root = _node((), groups, image_shape)
    shape = feature_shape(root.network)
    below = [
        _node((index,), tuple((label,) for label in group), shape)
        for index, group in enumerate(groups)
        if len(group) > 1
    ]
    return Trunk(Tree(nodes=(root, *below)))


def _node(path: NodePath, groups: Groups, shape: Shape) -> Node:
    layers = "other" if path else "root"
    network = NodeNetwork(backbone="compact", layers=layers, input_shape=shape, outputs=len(groups))
    return Node(path=path, groups=groups, network=network)


SPEC = ModelSpec(
    label="TRUNK",
    build=build,
    image_size=32,
    resize=resize,
    fit=grow,
    first_stage=first_stage,
    section="tree",
    describe=describe,
    rebuild=rebuild,
    load_published=load_published,
    quantize=quantize,
)
