"""Growing on real digits: the result is a tree, and the same one however often it is stopped."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from harness.data.batches import ImageBatches
from harness.data.preprocess import Preprocess
from harness.data.splits import MemorySplit
from harness.errors import RequestError
from harness.networks.weights import read_tensors
from harness.settings_spec import Settings, TrainingSettings, TreeSettings
from harness.training import stages as stages_module
from harness.training.stages import Fitting, Stages
from trunk import growing
from trunk.features import NodeInputs
from trunk.growing import choose_held_out, grow

STAGE = TrainingSettings(
    start="random",
    epochs=3,
    batch_size=20,
    drop_last=False,
    optimizer="adamw",
    learning_rate=0.01,
    schedule="one_cycle",
)
TREE = TreeSettings(volatility=0.8, grouping=STAGE)
# For what does not depend on how well a tree has learned.
QUICK = dataclasses.replace(STAGE, epochs=1, batch_size=40)
QUICK_TREE = dataclasses.replace(TREE, grouping=QUICK)
CLASSES = 8
GROUPS = {8: ((0, 3, 4, 7), (1, 2), (5,), (6,)), 4: ((0, 1), (2,), (3,))}


@pytest.fixture(autouse=True, scope="module")
def grouped():
    """Group by the number of classes alone, so that no test depends on what is confused."""

    def by_number(likelihood, volatility):
        calls.append((likelihood, volatility))
        return GROUPS.get(len(likelihood), tuple((k,) for k in range(len(likelihood))))

    calls = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growing, "child_groups", by_number)
        yield calls


@pytest.fixture(scope="module")
def split():
    """Thirty digits each of 0 to 7, 8×8 pixels."""
    digits = load_digits()
    rows = np.concatenate([np.flatnonzero(digits.target == k)[:30] for k in range(CLASSES)])
    images = torch.from_numpy((digits.images[rows] * 15).astype(np.uint8))[:, None]
    return MemorySplit(images, torch.from_numpy(digits.target[rows].astype(np.int64)))


def fitting_in(folder, split, training=STAGE, tree=TREE, **changes):
    return Fitting(
        settings=Settings(training=training, tree=tree, **changes),
        num_classes=CLASSES,
        channels=1,
        split=split,
        preprocess=Preprocess(image_size=8, mean=None, std=None),
        device="cpu",
        stages=Stages(folder, device="cpu", checkpoint_seconds=1e9, title="t"),
    )


@pytest.fixture
def make_fitting(split, tmp_path):
    return lambda **changes: fitting_in(tmp_path / "stages", split, **changes)


def images_of(split):
    return Preprocess(image_size=8, mean=None, std=None)(split.images)


def same_weights(one, other):
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(value, states[1][key]) for key, value in states[0].items()
    )


@pytest.fixture(scope="module")
def whole(split, tmp_path_factory):
    """A tree grown without a stop, and its stages."""
    fitting = fitting_in(tmp_path_factory.mktemp("whole"), split)
    return grow(fitting), fitting.stages


@pytest.fixture
def continue_whole(make_fitting, whole, tmp_path):
    """Make a fitting that finds the stages of the whole tree done."""
    shutil.copytree(whole[1].folder, tmp_path / "stages")
    return make_fitting


def test_a_tree_of_several_nodes_comes_out_and_has_learned(whole, split):
    trunk, stages = whole
    assert len(trunk.tree.nodes) > 1
    assert trunk.tree.num_classes == CLASSES
    right = (trunk.route(images_of(split)) == split.labels).float().mean()
    assert right > 0.5
    names = {log["stage"] for log in stages.logs}
    assert {"root.classes", "root.groups"} <= names
    assert not trunk.training


def test_the_nodes_are_those_of_the_groups(whole):
    tree = whole[0].tree
    assert {node.path: node.groups for node in tree.nodes} == {
        (): ((0, 3, 4, 7), (1, 2), (5,), (6,)),
        (0,): ((0, 3), (4,), (7,)),
        (0, 0): ((0,), (3,)),
        (1,): ((1,), (2,)),
    }


def test_grouping_is_asked_of_each_nodes_likelihood(continue_whole, grouped):
    grouped.clear()
    trunk = grow(continue_whole(tree=dataclasses.replace(TREE, root_volatility=0.5)))
    assert [volatility for _, volatility in grouped] == [0.5, 0.8, 0.8, 0.8]
    by_size = {len(likelihood): likelihood for likelihood, _ in grouped}
    for node in trunk.tree.nodes:
        likelihood = torch.tensor(node.likelihood)
        torch.testing.assert_close(likelihood.sum(1), torch.ones(len(node.classes)))
        if len(node.classes) > 2:
            torch.testing.assert_close(by_size[len(node.classes)].float(), likelihood)


class StopError(Exception):
    pass


def test_stopped_again_and_again_it_becomes_the_same_tree(make_fitting, whole, monkeypatch):
    train, starts = stages_module.train, []

    def stop_before_the_third(network, batches, recipe, **kwargs):
        starts.append(kwargs["title"])
        if len(starts) == 3:
            raise StopError
        return train(network, batches, recipe, **kwargs)

    monkeypatch.setattr(stages_module, "train", stop_before_the_third)
    with pytest.raises(StopError):
        grow(make_fitting())
    trunk = grow(make_fitting())
    assert trunk.tree == whole[0].tree
    assert same_weights(trunk, whole[0])
    # The stage that was stopped began twice, those before it once.
    assert len(starts) == len(set(starts)) + 1


def test_maps_computed_anew_each_epoch_are_the_kept_ones(make_fitting, whole, split):
    """Close, not equal: they are computed in batches of other sizes."""
    root, rows = whole[0].networks["root"], torch.arange(0, len(split), 3)
    kept, anew = (
        NodeInputs(make_fitting(memory_limit_gb=limit), [root], rows, STAGE, 1).batches(
            STAGE, split.labels[rows]
        )
        for limit in (1.0, 1e-9)
    )
    assert (kept.steps, kept.images) == (anew.steps, anew.images)
    for epoch, first_step in ((1, 0), (2, 1)):
        pairs = zip(kept.epoch(epoch, first_step), anew.epoch(epoch, first_step), strict=True)
        for (maps, targets), (wanted, wanted_targets) in pairs:
            torch.testing.assert_close(maps, wanted)
            assert torch.equal(targets, wanted_targets)


def test_a_tree_grows_on_maps_computed_anew(make_fitting, whole, monkeypatch):
    monkeypatch.setattr(NodeInputs, "kept", property(lambda _: pytest.fail("maps are kept")))
    trunk = grow(make_fitting(training=QUICK, tree=QUICK_TREE, memory_limit_gb=1e-9))
    assert [node.groups for node in trunk.tree.nodes] == [n.groups for n in whole[0].tree.nodes]


def test_kept_maps_are_the_parents_features(make_fitting, whole, split):
    trunk = whole[0]
    rows = torch.tensor([7, 3, 200])
    inputs = NodeInputs(make_fitting(), [trunk.networks["root"]], rows, STAGE, 5)
    assert len(inputs.kept) == 1  # nothing is augmented, so one view says all
    with torch.no_grad():
        wanted = trunk.networks["root"].features(images_of(split)[rows])
    torch.testing.assert_close(inputs.kept[0], wanted)


@pytest.mark.parametrize("change", [{"shift_pixels": 2}, {"random_resized_crop": (0.2, 1.0)}])
def test_views_differ_when_images_are_augmented(make_fitting, whole, change):
    recipe = dataclasses.replace(STAGE, **change)
    rows = torch.arange(20)
    inputs = NodeInputs(make_fitting(), [whole[0].networks["root"]], rows, recipe, 2)
    assert len(inputs.kept) == 2
    assert not torch.equal(*inputs.kept)


def test_without_groups_all_classes_are_leaves(continue_whole, monkeypatch):
    monkeypatch.setattr(growing, "child_groups", lambda a, _: tuple((k,) for k in range(len(a))))
    trunk = grow(continue_whole())
    assert len(trunk.tree.nodes) == 1
    assert trunk.tree.root.groups == tuple((label,) for label in range(CLASSES))


def test_joint_training_changes_every_node(continue_whole, whole):
    recipe = dataclasses.replace(STAGE, epochs=2)
    fitting = continue_whole(tree=dataclasses.replace(TREE, joint=recipe))
    trunk = grow(fitting)
    assert trunk.tree == whole[0].tree
    for name, network in trunk.networks.items():
        assert not same_weights(network, whole[0].networks[name])
    joint = [log["loss"] for log in fitting.stages.logs if log["stage"] == "joint"]
    assert joint[-1] < joint[0]


def test_a_teacher_is_trained_once_and_changes_joint_training(continue_whole):
    def grown(**changes):
        return grow(continue_whole(tree=dataclasses.replace(TREE, joint=QUICK, **changes)))

    alone = grown()
    taught = {"distillation": 0.5, "teacher_layers": "root"}
    continue_whole().stages._file("joint", "safetensors").unlink()
    first = grown(**taught)
    folder = continue_whole().stages.folder
    teacher = read_tensors(folder / "teacher.safetensors")
    assert teacher["networks.root.classifier.0.weight"].shape[0] == CLASSES
    assert not same_weights(alone, first)
    (folder / "joint.safetensors").unlink()
    again = grown(**taught)
    assert same_weights(first, again)


def test_a_warm_start_begins_with_the_features_of_the_first_stage(continue_whole, monkeypatch):
    seen = {}

    def note(self, name, network, *args):
        seen[name] = {k: v.clone() for k, v in network.state_dict().items()}
        if name == "root.groups":
            raise StopError
        return original(self, name, network, *args)

    original = Stages.train
    monkeypatch.setattr(Stages, "train", note)
    fitting = continue_whole(tree=dataclasses.replace(TREE, warm_start=True))
    with pytest.raises(StopError):
        grow(fitting)
    trained = read_tensors(fitting.stages.folder / "root.classes.safetensors")
    key = "node.features.0.weight"
    assert torch.equal(seen["root.groups"][key], trained[key])
    assert not torch.equal(seen["root.classes"][key], trained[key])


def test_a_fold_takes_out_a_node_that_is_no_better_than_leaves(make_fitting, monkeypatch):
    tree = dataclasses.replace(QUICK_TREE, held_out=0.2, fold=True)
    fitting = make_fitting(training=QUICK, tree=tree)
    monkeypatch.setattr(growing, "_accuracy", lambda branches, start, maps, labels: 0.5)
    folded = grow(fitting)
    for comparison in fitting.stages.folder.glob("*.fold.json"):
        comparison.unlink()
    monkeypatch.setattr(growing, "_accuracy", lambda branches, *_: float(len(branches) > 1))
    kept = grow(fitting)
    assert [node.path for node in folded.tree.nodes] == [(), (0,), (1,)]
    assert [node.path for node in kept.tree.nodes] == [(), (0,), (0, 0), (1,)]


def test_folding_without_held_out_images_is_refused(make_fitting):
    with pytest.raises(RequestError, match="held_out"):
        grow(make_fitting(tree=dataclasses.replace(TREE, fold=True)))


def test_layer_lists_follow_the_number_of_outputs(make_fitting):
    tree = dataclasses.replace(
        QUICK_TREE, backbone="vgg", layers_by_outputs={2: "pair"}, dropout=0.25
    )
    trunk = grow(make_fitting(training=QUICK, tree=tree))
    assert len(trunk.tree.nodes) > 1
    for node in trunk.tree.nodes[1:]:
        assert node.network.layers == ("pair" if node.network.outputs == 2 else "other")
    rates = {m.p for m in trunk.modules() if isinstance(m, torch.nn.Dropout2d)}
    assert rates == {0.25}


def test_the_same_share_of_every_class_is_held_out():
    labels = torch.tensor([0] * 40 + [1] * 10 + [2] * 4)
    held_out = choose_held_out(labels, 0.25, seed=1)
    assert labels[held_out].bincount().tolist() == [10, 2, 1]
    assert torch.equal(held_out, choose_held_out(labels, 0.25, seed=1))
    assert not torch.equal(held_out, choose_held_out(labels, 0.25, seed=2))
    assert not choose_held_out(labels, 0.0, seed=1).any()


def test_held_out_images_are_not_trained_on(make_fitting, monkeypatch):
    used = []
    original = NodeInputs.batches

    def note(self, recipe, targets):
        used.append(self.rows)
        return original(self, recipe, targets)

    monkeypatch.setattr(NodeInputs, "batches", note)
    tree = dataclasses.replace(QUICK_TREE, held_out=0.2)
    fitting = make_fitting(training=QUICK, tree=tree)
    grow(fitting)
    held_out = choose_held_out(fitting.split.labels, 0.2, fitting.settings.seed)
    assert held_out.sum() == 48
    assert not held_out[torch.cat(used)].any()


def test_validation_images_are_the_held_out_ones(make_fitting, monkeypatch):
    used, judged = [], []
    original, likelihood = NodeInputs.batches, growing.averaged_softmax
    monkeypatch.setattr(
        NodeInputs, "batches", lambda self, *given: used.append(self.rows) or original(self, *given)
    )
    monkeypatch.setattr(
        growing, "averaged_softmax", lambda p, n: judged.append(len(n)) or likelihood(p, n)
    )
    tree = dataclasses.replace(QUICK_TREE, held_out=0.2, joint=QUICK)
    fitting = make_fitting(training=QUICK, tree=tree)
    count = len(fitting.split)
    rows = torch.cat([(fitting.split.labels == label).nonzero()[:3, 0] for label in range(CLASSES)])
    val = MemorySplit(fitting.split.images[rows], fitting.split.labels[rows])
    joint = []
    batches = ImageBatches.epoch
    monkeypatch.setattr(
        ImageBatches,
        "epoch",
        lambda self, *given: joint.append(self.labels) or batches(self, *given),
    )
    grow(dataclasses.replace(fitting, val=val))
    assert torch.cat(used).max() == count - 1
    assert judged[0] == len(val)
    assert all((labels[count:] == -1).all() for labels in joint if len(labels) > count)
    lacking = MemorySplit(val.images[3:], val.labels[3:])
    with pytest.raises(RequestError, match="no validation image of class 0; --set tree.held_out=0"):
        grow(dataclasses.replace(fitting, val=lacking))


@pytest.mark.gpu
def test_a_tree_grows_on_a_gpu(make_fitting, split):
    tree = dataclasses.replace(
        TREE, held_out=0.2, fold=True, joint=STAGE, distillation=0.5, teacher_layers="root"
    )
    fitting = make_fitting(tree=tree)
    fitting = dataclasses.replace(fitting, device="cuda")
    fitting.stages.device = "cuda"
    trunk = grow(fitting)
    assert all(p.device.type == "cpu" for p in trunk.parameters())
    prepared = trunk.to("cuda").prepare_for_inference()
    images = images_of(split).to("cuda")
    assert (prepared.route(images).cpu() == split.labels).float().mean() > 0.5


def test_too_few_images_are_found_before_anything_is_trained(split, tmp_path):
    def grow_with(**changes):
        training = dataclasses.replace(STAGE, **changes.pop("training", {}))
        tree = dataclasses.replace(TREE, grouping=training, **changes)
        grow(fitting_in(tmp_path, split, training, tree))

    with pytest.raises(RequestError, match="class 0 has 30 training images, of which 0.01 is 0"):
        grow_with(held_out=0.01)
    with pytest.raises(RequestError, match="two smallest classes: .* there are only 60 training"):
        grow_with(training={"batch_size": 61, "drop_last": True})
    with pytest.raises(RequestError, match="the root: .* there are only 240 training images"):
        grow_with(training={"batch_size": 241, "drop_last": True})
    assert not list(tmp_path.iterdir())
