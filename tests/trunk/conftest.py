"""What several tests of the tree share: random trees, and where the published files lie."""

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from trunk.nodes import feature_shape
from trunk.routing import Trunk
from trunk.tree import Node, NodeNetwork, Tree

SHARED = Path(__file__).resolve().parents[3] / "shared"


def existing(path):
    if not path.exists():
        pytest.skip(f"{path.name} is not here")
    return path


@pytest.fixture(scope="session")
def published_root():
    return existing(SHARED / "published" / "trunk")


@pytest.fixture(scope="session")
def real_images():
    """Return a function: the first test images of each class as floats in [0, 1], and labels."""

    def read(name, per_class):
        with np.load(existing(SHARED / "data" / name), allow_pickle=False) as arrays:
            images = torch.from_numpy(arrays["test_images"]).float() / 255
            labels = torch.from_numpy(arrays["test_labels"].astype(np.int64))
        rows = [(labels == label).nonzero()[:per_class, 0] for label in labels.unique()]
        chosen = torch.cat(rows)
        images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
        return images[chosen].contiguous(), labels[chosen]

    return read


def random_groups(classes, generator):
    """Split classes into two or more groups, in the order of their smallest class."""
    groups = {}
    children = generator.randint(2, len(classes))
    for label in classes:
        groups.setdefault(generator.randrange(children), []).append(label)
    if len(groups) == 1:
        return random_groups(classes, generator)
    return tuple(sorted(tuple(sorted(group)) for group in groups.values()))


def random_tree(seed, backbone="compact"):
    """Return a tree of 2 to 12 classes for 8×8 grey images whose networks fit each other."""
    generator = random.Random(seed)
    waiting = [((), tuple(range(generator.randint(2, 12))), (1, 8, 8))]
    nodes = []
    while waiting:
        path, classes, shape = waiting.pop()
        groups = random_groups(classes, generator)
        network = NodeNetwork(
            backbone=backbone,
            layers="other" if path else "root",
            input_shape=shape,
            outputs=len(groups),
        )
        row = tuple(generator.random() for _ in classes)
        known = generator.random() < 0.5
        node = Node(
            path=path,
            groups=groups,
            network=network,
            likelihood=(row,) * len(classes) if known else None,
            volatility=generator.uniform(0.1, 2) if known else None,
        )
        nodes.append(node)
        below = [(index, group) for index, group in enumerate(groups) if len(group) > 1]
        waiting += [((*path, index), group, feature_shape(network)) for index, group in below]
    return Tree(nodes=tuple(sorted(nodes, key=lambda node: node.path)))


@pytest.fixture(name="random_tree")
def _random_tree():
    return random_tree


@pytest.fixture
def unsure_trunk():
    """Return a function: a random tree with logits of mean 0 and variance 1 at each node."""

    @torch.inference_mode()
    def make(seed):
        torch.manual_seed(seed)
        trunk = Trunk(random_tree(seed)).eval().requires_grad_(False)
        images, maps = torch.randn(64, 1, 8, 8), {}
        for node, network in zip(trunk.tree.nodes, trunk.networks.values(), strict=True):
            maps[node.path], logits = network(maps[node.path[:-1]] if node.path else images)
            deviation, mean = torch.std_mean(logits, 0)
            part = network.classifier[0]
            part.weight /= deviation.view(-1, *[1] * (part.weight.ndim - 1))
            part.bias.copy_((part.bias - mean) / deviation)
        return trunk

    return make


@pytest.fixture
def small_tree():
    """Five classes: the root tells {0, 3, 4}, 1 and 2 apart, its first child {0, 4} and 3."""
    network = NodeNetwork(backbone="compact", layers="root", input_shape=(1, 8, 8), outputs=3)
    below = dataclasses.replace(network, layers="other", input_shape=(32, 4, 4), outputs=2)
    lowest = dataclasses.replace(below, input_shape=(48, 4, 4))
    return Tree(
        nodes=(
            Node(path=(), groups=((0, 3, 4), (1,), (2,)), network=network, volatility=1.25),
            Node(path=(0,), groups=((0, 4), (3,)), network=below),
            Node(path=(0, 0), groups=((0,), (4,)), network=lowest, likelihood=((0.9, 0.1),) * 2),
        )
    )
