"""Joint training, and a tree that starts from its teacher and knows what the teacher knows."""

import dataclasses

import pytest
import torch
from sklearn.datasets import load_digits

from harness.data.preprocess import Preprocess
from harness.data.splits import MemorySplit
from harness.errors import RequestError
from harness.networks.weights import read_tensors
from harness.settings_spec import Settings, TrainingSettings, TreeSettings
from harness.training.stages import Fitting, Stages
from trunk.growing import grow
from trunk.joint import start_from_teacher, train_teacher
from trunk.nodes import feature_shape
from trunk.routing import Trunk
from trunk.tree import Node, NodeNetwork, Tree

SIDE, CLASSES, COUNT = 28, 10, 160
LEAVES = tuple((label,) for label in range(CLASSES))
RECIPE = TrainingSettings(
    start="random", epochs=2, batch_size=64, drop_last=False, optimizer="adamw", learning_rate=0.01
)
# Steps too small to change a float.
STILL = dataclasses.replace(RECIPE, epochs=1, learning_rate=1e-12, weight_decay=0.0)
TREE = TreeSettings(
    backbone="efficient_xs",
    grouping=STILL,
    joint=STILL,
    teacher=RECIPE,
    start_from_teacher=True,
)


@pytest.fixture
def fitting(tmp_path):
    digits = load_digits()
    images = torch.from_numpy((digits.images[:COUNT] * 15).astype("uint8"))[:, None]
    return Fitting(
        settings=Settings(training=STILL, tree=TREE),
        num_classes=CLASSES,
        channels=1,
        split=MemorySplit(images, torch.from_numpy(digits.target[:COUNT])),
        preprocess=Preprocess(image_size=SIDE, mean=None, std=None),
        device="cpu",
        stages=Stages(tmp_path / "stages", device="cpu", checkpoint_seconds=1e9, title="t"),
    )


def make_node(path, groups, shape, layers):
    network = NodeNetwork(
        backbone="efficient_xs", layers=layers, input_shape=shape, outputs=len(groups)
    )
    return Node(path=path, groups=groups, network=network)


def two_levels():
    """Return a tree of ten classes: two pairs below the root, the others leaves of it."""
    groups = ((0, 3), (1, 2), *LEAVES[4:])
    root = make_node((), groups, (1, SIDE, SIDE), "root")
    maps = feature_shape(root.network)
    pairs = [((0,), (3,)), ((1,), (2,))]
    below = [make_node((at,), pair, maps, "other") for at, pair in enumerate(pairs)]
    return Trunk(Tree(nodes=(root, *below)))


def test_nodes_start_from_their_teacher(fitting):
    teacher = train_teacher(fitting, TREE, fitting.split.labels)
    trunk = two_levels()
    for node, network in zip(trunk.tree.nodes, trunk.networks.values(), strict=True):
        start_from_teacher(teacher, network, node.path, node.groups)
    images = fitting.preprocess(fitting.split.images[:50])
    root, pair, other = (network.train() for network in trunk.networks.values())
    with torch.no_grad():
        logits = teacher.train()(images)[1]
        maps = root(images)[0]
        torch.testing.assert_close(pair(maps)[1], logits[:, [0, 3]], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(other(maps)[1], logits[:, [1, 2]], atol=1e-4, rtol=1e-4)


def test_a_grown_tree_has_the_layers_of_its_teacher_until_it_learns(fitting):
    trunk = grow(fitting)
    teacher = train_teacher(fitting, TREE, fitting.split.labels)  # Its stage is finished.
    for name, network in trunk.networks.items():
        depth = len(network.features)
        layers = teacher.features[:depth] if name == "root" else teacher.features[-depth:]
        if name.count("-") == 0:
            pairs = zip(network.features.parameters(), layers.parameters(), strict=True)
            assert all(torch.allclose(own, taught, atol=1e-6) for own, taught in pairs)


def test_the_teacher_corrects_for_unequal_classes_as_the_tree_does(fitting):
    def teach(folder, **changes):
        stages = dataclasses.replace(fitting.stages, folder=fitting.stages.folder / folder)
        one = dataclasses.replace(fitting, stages=stages)
        settings = dataclasses.replace(TREE, **changes)
        labels = fitting.split.labels.where(torch.arange(COUNT) % 3 > 0, 0)
        train_teacher(one, settings, labels)
        return read_tensors(stages.folder / "teacher.safetensors")

    plain, adjusted = teach("a"), teach("b", logit_adjustment=True)
    bias = "networks.root.classifier.0.bias"
    assert adjusted[bias][0] < plain[bias][0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"distillation": 0.5, "joint": None}, "tree.joint is not set"),
        (
            {"distillation": 0.5, "joint": STILL, "teacher_layers": "rot"},
            "unknown layer list of compact 'rot'.*root",
        ),
        ({"teacher": STILL, "joint": STILL}, "tree.teacher: nothing follows it"),
        ({"logit_adjustment": True, "joint": None}, "logit_adjustment .* set tree.joint"),
        (
            {"logit_adjustment": True, "joint": dataclasses.replace(STILL, balance_classes=True)},
            "balance_classes to false in it",
        ),
        (
            {"start_from_teacher": True, "joint": STILL, "teacher_layers": "other"},
            "must be those of a root and the node below it; of compact they are not",
        ),
    ],
)
def test_joint_training_that_cannot_be_is_refused_before_any(fitting, changes, said):
    settings = dataclasses.replace(fitting.settings, tree=TreeSettings(**changes))
    fitting = dataclasses.replace(fitting, settings=settings)
    with pytest.raises(RequestError, match=said):
        grow(fitting)
    assert not fitting.stages.folder.exists()
