"""Costs that are counted: on networks small enough to count by hand, and read back as written."""

import dataclasses
import json

import pytest
import torch
from torch import nn

import tests.jobs
from harness.errors import CellError, RequestError
from harness.jobs import CostJob
from harness.measure.memory import measure_file_mb
from harness.measurements.cost import CountedCosts
from harness.plan import counts, jobs
from harness.records.cost import COSTS, CostPath, cost_place
from harness.run import count
from harness.run.count import count_costs
from harness.settings_spec import Settings
from harness.spec import DatasetSpec, ModelSpec, NetworkPath

# 8×8 images of 3 channels: 3·4·9·36 for the convolution, then 144·5.
PLAIN_MACS = 3 * 4 * 9 * 36 + 144 * 5
PLAIN_PARAMS = 3 * 4 * 9 + 4 + 144 * 5 + 5


def build_plain(classes, channels, _pretrained):
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.Flatten(), nn.Linear(4 * 36, classes))


class Routed(nn.Module):
    """Two paths: through the first convolution alone, or through both."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 2, 1, padding=1)
        self.second = nn.Conv2d(2, 2, 3)

    def forward(self, images):
        return self.second(self.first(images)).flatten(1)

    def prepare_for_inference(self):
        return self

    def route(self, images):
        return torch.zeros(len(images), dtype=torch.int64)

    def paths(self):
        return (
            NetworkPath(name="long", classes=(1, 2), network=self),
            NetworkPath(name="short", classes=(0,), network=nn.Sequential(self.first)),
        )


def fail(_job, _classes):
    raise RequestError("no tree was published for it")


SPECS = {
    "plain": ModelSpec(label="Plain", build=build_plain, image_size=8),
    "routed": ModelSpec(
        label="Routed",
        build=lambda *_: None,
        image_size=8,
        rebuild=lambda _: None,
        load_published=lambda _job, _classes: (Routed(), "5ba256"),
    ),
    "unpublished": ModelSpec(
        label="Unpublished", build=lambda *_: None, image_size=8, rebuild=lambda _: None
    ),
    "gone": ModelSpec(
        label="Gone",
        build=lambda *_: None,
        image_size=8,
        rebuild=lambda _: None,
        load_published=fail,
    ),
}
DATASET = DatasetSpec(
    label="Shape",
    classes=tuple("abcde"),
    channels=3,
    image_size=8,
    load_splits=lambda _root: pytest.fail("images were looked at"),
    files="",
)


@pytest.fixture(autouse=True)
def _own_models(monkeypatch):
    monkeypatch.setattr(count, "load_model", SPECS.__getitem__)
    monkeypatch.setattr(count, "load_dataset", lambda _: DATASET)


def make_job(tmp_path, model):
    settings = Settings(image_size=8)
    return tests.jobs.make_job("shape", model, tmp_path, settings=settings, command="again")


def test_a_network_is_counted_without_an_image(tmp_path):
    record = count_costs(make_job(tmp_path, "plain"))
    assert (record.gmacs, record.params) == (PLAIN_MACS / 1e9, PLAIN_PARAMS)
    assert record.gflops == 2 * record.gmacs
    assert record.weights_mb == 4 * PLAIN_PARAMS / 1e6
    assert record.weights_mb < record.file_mb < record.weights_mb + 0.01
    assert record.peak_memory_mb == (4 * 36 * 4 + 5 * 4) / 1e6
    assert (record.image_size, record.channels, record.classes) == (8, 3, 5)
    assert (record.weights_origin, record.paths, record.not_measured) == ("random", (), {})
    assert record.provenance.command == "again"
    assert record.provenance.git_commit is None or len(record.provenance.git_commit) == 40


def test_every_path_of_a_published_tree_is_counted(tmp_path):
    record = count_costs(make_job(tmp_path, "routed"))
    assert record.weights_origin == "published"
    short, long = record.paths
    assert (short.name, short.classes, long.name, long.classes) == ("short", 1, "long", 2)
    # Padding of 1 makes the map 10×10; the 3×3 convolution makes 8×8 of it.
    assert short.gmacs == 3 * 2 * 100 / 1e9
    assert long.gmacs == (3 * 2 * 100 + 2 * 2 * 9 * 64) / 1e9
    # Without it 8×8, and 6×6.
    assert short.gmacs_unpadded == 3 * 2 * 64 / 1e9
    assert long.gmacs_unpadded == (3 * 2 * 64 + 2 * 2 * 9 * 36) / 1e9
    assert short.params == 3 * 2 + 2
    assert record.gmacs is None
    assert record.not_measured["gmacs"] == "it depends on the image's path"
    # Both maps of the longer path at once.
    assert record.peak_memory_mb == (2 * 100 + 2 * 64) * 4 / 1e6


def test_what_has_no_padded_1x1_convolution_has_no_other_count(tmp_path, monkeypatch):
    class Bare(Routed):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 2, 1)

    spec = dataclasses.replace(SPECS["routed"], load_published=lambda *_: (Bare(), ""))
    monkeypatch.setattr(count, "load_model", lambda _: spec)
    record = count_costs(make_job(tmp_path, "routed"))
    assert [path.gmacs_unpadded for path in record.paths] == [None, None]


def test_the_size_of_a_file_is_that_of_the_file(tmp_path):
    network = build_plain(5, 3, False)
    # An archive in memory is named like this, and so are the entries of a file of this name.
    torch.save(network.state_dict(), tmp_path / "archive.pt")
    assert measure_file_mb(network) == (tmp_path / "archive.pt").stat().st_size / 1e6


def test_costs_are_read_as_they_were_written(tmp_path):
    records = [count_costs(make_job(tmp_path, model)) for model in ("routed", "plain")]
    paths = [COSTS.write(tmp_path, record) for record in records]
    assert paths[0] == tmp_path / cost_place("shape", "routed", 8)
    assert paths[0] == tmp_path / "costs" / "shape" / "routed-8.json"
    found = COSTS.read_all(tmp_path)
    assert [record.model for record in found] == ["plain", "routed"]
    assert found[1].paths == records[0].paths
    assert isinstance(found[1].paths[0], CostPath)
    again = json.loads(json.dumps(dataclasses.asdict(records[1])))
    assert json.loads(json.dumps(dataclasses.asdict(found[0]))) == again


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gmacs": "4"}, "not a record of costs .gmacs: Input should be a valid number"),
        ({"colour": "red"}, "not a record of costs .colour"),
        ({"schema": 7}, "schema 7, this version reads 2: it is of a newer version"),
        ({"model": "other"}, "belongs to .*other-8.json; move or delete it"),
        ({"paths": [{"name": "root"}]}, "paths.0.classes"),
    ],
)
def test_a_broken_record_is_named(tmp_path, change, words):
    path = COSTS.write(tmp_path, count_costs(make_job(tmp_path, "plain")))
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(RequestError, match=words) as caught:
        COSTS.read_all(tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("unpublished", "Unpublished gets its shape in training, and none was published"),
        ("gone", "no tree was published for it"),
    ],
)
def test_what_gets_its_shape_in_training_needs_a_published_one(tmp_path, model, words):
    with pytest.raises(RequestError, match=words):
        count_costs(make_job(tmp_path, model))


def test_one_model_is_not_in_the_way_of_the_next(tmp_path, capsys, monkeypatch):
    def build(*_):
        raise RuntimeError("no such layer\nat all")

    broken = dataclasses.replace(SPECS["plain"], build=build)
    specs = SPECS | {"broken": broken}
    monkeypatch.setattr(count, "load_model", specs.__getitem__)
    jobs = tuple(make_job(tmp_path, model) for model in ("broken", "gone", "plain"))
    assert CountedCosts().work(CostJob(jobs=jobs)) == 1
    assert capsys.readouterr().err == (
        "shape/broken: RuntimeError: no such layer at all\n"
        "shape/gone: no tree was published for it\n"
    )
    assert [record.model for record in COSTS.read_all(tmp_path / "results")] == ["plain"]


def test_a_network_that_cannot_be_counted_leaves_nothing(tmp_path, monkeypatch):
    class Dependent(nn.Module):
        def forward(self, images):
            return images if images.sum() > 0 else -images

    spec = dataclasses.replace(SPECS["plain"], build=lambda *_: Dependent())
    monkeypatch.setattr(count, "load_model", lambda _: spec)
    with pytest.raises(CellError, match="cannot be counted on the meta device"):
        count_costs(make_job(tmp_path, "plain"))


@pytest.mark.parametrize(
    ("chosen", "names"),
    [(["all"], ["plain", "routed", "gone"]), (["plain,gone"], ["plain", "gone"])],
)
def test_of_all_models_those_are_counted_that_can_be(monkeypatch, chosen, names):
    monkeypatch.setattr(counts, "load_model", SPECS.__getitem__)
    monkeypatch.setattr(jobs, "model_files", lambda: SPECS)
    assert counts._name_models(chosen) == names


@pytest.mark.parametrize("chosen", [["unpublished"], ["plain,unpublished"]])
def test_one_that_is_named_and_cannot_be_counted_is_refused(monkeypatch, chosen):
    monkeypatch.setattr(counts, "load_model", SPECS.__getitem__)
    monkeypatch.setattr(jobs, "model_files", lambda: SPECS)
    with pytest.raises(RequestError, match="--model unpublished: gets its shape in training"):
        counts._name_models(chosen)
