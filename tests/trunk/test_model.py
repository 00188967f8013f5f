"""TRUNK as one more model of the harness: grown, saved, loaded again, published, refused."""

import json

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from harness.catalog import load_model
from harness.data.loading import DataSource, ImageData
from harness.data.splits import MemorySplit
from harness.errors import RequestError
from harness.jobs import Cell, Job
from harness.networks.weights_files import stages_folder, trained_weights_path, unfinished_path
from harness.run import provision
from harness.run.provision import discard_checkpoint, ready_network
from harness.settings_spec import Settings, TrainingSettings, TreeSettings
from trunk.routing import Trunk

SPEC = load_model("trunk")
STAGE = TrainingSettings(epochs=1, batch_size=20, learning_rate=0.01, start="random")


def images_for(size, channels, classes, count):
    generator = torch.Generator().manual_seed(0)
    shape = (count, channels, size, size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return data_of(MemorySplit(images, torch.arange(count) % classes), classes, channels)


def data_of(split, classes, channels):
    source = DataSource(name="made", sha256="d" * 64, digest_of="nothing", official=False)
    names = tuple(map(str, range(classes)))
    return ImageData(train=split, test=split, classes=names, channels=channels, source=source)


@pytest.fixture
def digits():
    """Forty digits each of 0 to 3, at 8×8."""
    found = load_digits()
    rows = np.concatenate([np.flatnonzero(found.target == k)[:40] for k in range(4)])
    images = torch.from_numpy((found.images[rows] * 15).astype(np.uint8))[:, None]
    return data_of(MemorySplit(images, torch.from_numpy(found.target[rows].astype("int64"))), 4, 1)


@pytest.fixture
def make_job(tmp_path):
    def make(dataset="digits", weights="auto", published_dir=None, **settings):
        tree = TreeSettings(volatility=0.5, grouping=STAGE)
        chosen = {"image_size": 8, "training": STAGE, "tree": tree, "weights": weights} | settings
        return Job(
            cell=Cell(dataset=dataset, model="trunk", device="cpu"),
            settings=Settings(**chosen),
            data_dir=tmp_path,
            data_file=None,
            weights_dir=tmp_path / "weights",
            published_dir=published_dir,
            results_dir=tmp_path,
            offline=True,
            command="",
        )

    return make


def test_a_grown_tree_is_saved_and_loaded_again(make_job, digits, monkeypatch):
    job = make_job()
    first = ready_network(job, SPEC, digits)
    assert first.origin == "trained"
    assert {entry["stage"] for entry in first.sidecar.logs} >= {"root.classes"}
    monkeypatch.setattr(provision, "learn", lambda *_: pytest.fail("grown again"))
    second = ready_network(job, SPEC, digits)
    assert second.network.tree == first.network.tree
    states = first.network.state_dict(), second.network.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_the_stages_stay_until_the_record_is_written(make_job, digits):
    job = make_job()
    ready_network(job, SPEC, digits)
    folder = stages_folder(unfinished_path(job, digits.source.sha256))
    assert folder.is_dir()
    discard_checkpoint(job, digits.source.sha256)
    assert not folder.exists()


@pytest.mark.parametrize("structure", [None, {}, {"nodes": []}, {"nodes": 3}])
def test_a_sidecar_without_a_tree_is_named(make_job, digits, structure):
    job = make_job()
    ready_network(job, SPEC, digits)
    path = trained_weights_path(job, digits.source.sha256).with_suffix(".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"structure": structure}))
    with pytest.raises(RequestError, match=rf"{path.name}: not a tree"):
        ready_network(job, SPEC, digits)


def test_a_tree_of_other_weights_is_refused(make_job, digits):
    job = make_job()
    ready_network(job, SPEC, digits)
    path = trained_weights_path(job, digits.source.sha256).with_suffix(".json")
    sidecar = json.loads(path.read_text())
    sidecar["structure"]["nodes"][0]["network"]["layers"] = "other"
    path.write_text(json.dumps(sidecar))
    with pytest.raises(RequestError, match="not weights of this network|has shape"):
        ready_network(job, SPEC, digits)


@pytest.mark.parametrize(
    ("dataset", "size", "channels", "classes", "nodes"),
    [("emnist", 28, 1, 47, 12), ("cifar10", 32, 3, 10, 5)],
)
def test_published_trees_are_loaded(
    make_job, published_root, dataset, size, channels, classes, nodes
):
    job = make_job(dataset, "published", published_root.parent, image_size=size)
    ready = ready_network(job, SPEC, images_for(size, channels, classes, classes))
    assert ready.origin == "published"
    assert len(ready.network.tree.nodes) == nodes
    assert len(ready.sha256) == 64
    again = ready_network(job, SPEC, images_for(size, channels, classes, classes))
    assert again.sha256 == ready.sha256


@pytest.mark.parametrize(
    ("dataset", "size", "classes", "message"),
    [
        ("digits", 8, 10, "no weights were published for digits/trunk"),
        ("cifar10", 28, 10, "image_size is 28, the published tree takes 32"),
        ("cifar10", 32, 11, "a tree of 10 classes, the data has 11"),
    ],
)
def test_a_published_tree_that_does_not_fit_is_refused(
    make_job, published_root, dataset, size, classes, message
):
    job = make_job(dataset, "published", published_root.parent, image_size=size)
    with pytest.raises(RequestError, match=message):
        ready_network(job, SPEC, images_for(size, 3, classes, classes))


def test_a_folder_without_the_tree_is_named(make_job, tmp_path):
    job = make_job("emnist", "published", tmp_path / "nothing", image_size=28)
    with pytest.raises(RequestError, match="nothing.*no such folder"):
        ready_network(job, SPEC, images_for(28, 1, 47, 47))


@pytest.mark.parametrize(("classes", "nodes"), [(2, 1), (3, 2), (4, 3), (10, 4), (47, 9)])
def test_the_stand_in_for_trees_not_grown_yet_has_two_levels(classes, nodes):
    with torch.device("meta"):
        trunk = SPEC.resize(SPEC.build(classes, 1, False), 28)
        logits = trunk(torch.empty(2, 1, 28, 28))
    assert isinstance(trunk, Trunk)
    assert logits.shape == (2, classes)
    assert len(trunk.tree.nodes) == nodes


def test_the_description_of_a_tree_survives_json(small_tree):
    described = json.loads(json.dumps(SPEC.describe(Trunk(small_tree), pytest.fail)))
    assert SPEC.rebuild(described, pytest.fail).tree == small_tree
