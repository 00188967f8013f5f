"""Records: written whole, read back equal, and refused when they are not records."""

import dataclasses
import json
import os
import socket
from pathlib import Path

import pytest

from harness.errors import RequestError
from harness.jobs import Cell
from harness.records.cell import (
    CELLS,
    check_writable,
    find_record,
)
from tests.records import cell_record

STORED = Path(__file__).parent / "stored"


def make_record(**changes):
    fields = {
        "dataset": "digits",
        "model": "net",
        "label": "Net",
        "device": "cpu",
        "status": "ok",
        "accuracy_top1": 87.5,
        "classes": ["a", "b"],
        "settings": {"seed": 0},
        "confusion_matrix": [[3, 1], [0, 4]],
        "not_measured": {"accuracy_top5": "two classes"},
    }
    return cell_record(**(fields | changes))


def test_what_is_read_is_what_was_written(tmp_path):
    record = make_record()
    path = CELLS.write(tmp_path, record)
    assert path == tmp_path / "records" / "digits" / "net-cpu.json"
    assert CELLS.read(path) == record
    assert find_record(tmp_path, record.cell) == record
    assert find_record(tmp_path, Cell(dataset="digits", model="x", device="cpu")) is None


def test_what_was_not_measured_is_null(tmp_path):
    fields = json.loads(CELLS.write(tmp_path, make_record()).read_text())
    assert fields["accuracy"]["accuracy_top5"] is None
    assert fields["latency"]["latency_ms_p50"] is None
    assert fields["not_measured"] == {"accuracy_top5": "two classes"}


def test_the_order_of_the_parts_is_part_of_the_format(tmp_path):
    fields = json.loads(CELLS.write(tmp_path, make_record()).read_text())
    assert list(fields) == [
        *("schema", "cell", "label", "status", "reason", "settings", "weights", "data"),
        *("accuracy", "latency", "throughput", "memory", "operations", "energy"),
        *("paths", "compression", "machine", "provenance", "not_measured"),
    ]
    assert list(fields["latency"]) == [
        *("latency_ms_p05", "latency_ms_p50", "latency_ms_p95", "latency_ms_p99"),
        "latency_rounds",
    ]


def test_each_field_of_a_part_is_a_line(tmp_path):
    lines = CELLS.write(tmp_path, make_record()).read_text().splitlines()
    assert '    "accuracy_top1": 87.5,' in lines
    assert '  "status": "ok",' in lines


def test_no_two_parts_have_a_field_of_the_same_name():
    record = make_record()
    parts = [dataclasses.fields(part) for part in vars(record).values() if is_part(part)]
    names = [field.name for part in parts for field in part]
    assert len(names) == len(set(names))
    assert set(names) <= record.flat.keys()


def is_part(value):
    return dataclasses.is_dataclass(value)


@pytest.mark.parametrize("schema", [1, 2])
def test_a_stored_record_of_each_schema_is_read(schema):
    record = CELLS.read(STORED / f"cell-{schema}.json")
    assert record.schema == 2
    assert str(record.cell) == "digits/resnet_quantized-cpu"
    assert record.accuracy.accuracy_top1 == pytest.approx(98.0556, abs=1e-4)
    assert record.accuracy.precision == "int8"
    assert record.compression.base == "resnet"
    assert record.weights.history[0].stage == "quantization"
    assert record.machine.load.stolen_share is not None
    assert record.provenance.environment["libraries"]["torch"]
    assert record.settings.settings["quantization"]
    assert record.not_measured["throughput_peak_share"]
    assert record == CELLS.read(STORED / "cell-2.json")


def test_records_come_in_order(tmp_path):
    for dataset, model in (("b", "x"), ("a", "z"), ("a", "y")):
        CELLS.write(tmp_path, make_record(dataset=dataset, model=model))
    assert [(r.cell.dataset, r.cell.model) for r in CELLS.read_all(tmp_path)] == [
        ("a", "y"),
        ("a", "z"),
        ("b", "x"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not a record"),
        ("[]", "not a record"),
        ('{"schema": 1, "nonsense": 2}', "not a record"),
        ('{"schema": 3, "nonsense": 2}', "schema 3, this version reads 2: it is of a newer"),
        ('{"schema": 0}', "not a record"),
        ('{"schema": "1"}', "not a record"),
        ("", "not a record"),
        ("[]\n[]", "not a record"),
    ],
)
def test_what_is_no_record_is_named(tmp_path, text, words):
    path = tmp_path / "records/digits/net-cpu.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(RequestError, match=words):
        CELLS.read_all(tmp_path)


@pytest.mark.parametrize(
    ("part", "field", "value", "words"),
    [
        ("accuracy", "accuracy_top1", "97.5", "accuracy_top1: Input should be a valid number"),
        ("accuracy", "accuracy_top1", True, "accuracy_top1: Input should be a valid number"),
        ("accuracy", "accuracy_top1", 250, "accuracy_top1: Input should be less than or equal"),
        ("accuracy", "accuracy_top1", float("nan"), "accuracy_top1: Input should be a finite"),
        ("accuracy", "n_test", 1.5, "n_test: Input should be a valid integer"),
        ("accuracy", "n_test", 0, "n_test: Input should be greater than or equal to 1"),
        ("accuracy", "confusion_matrix", [["a"]], "confusion_matrix.0.0: Input should be a valid"),
        ("latency", "latency_ms_p50", -1.0, "latency_ms_p50: Input should be greater than or"),
        ("cell", "device", "tpu", "device: Input should be 'cpu' or 'cuda'"),
        ("cell", "colour", "red", "cell.colour: Unexpected keyword argument"),
        ("", "status", "fine", "status: Input should be 'ok', 'failed' or 'unsupported'"),
        ("", "label", None, "label: Input should be a valid string"),
    ],
)
def test_a_field_of_another_type_or_out_of_range_is_named(tmp_path, part, field, value, words):
    path = CELLS.write(tmp_path, make_record())
    fields = json.loads(path.read_text())
    (fields[part] if part else fields)[field] = value
    path.write_text(json.dumps(fields))
    with pytest.raises(RequestError, match=words) as caught:
        CELLS.read_all(tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


IMPOSSIBLE = [
    ({"accuracy": {"accuracy_top1": 90.0}}, "accuracy_top1 is 90.0, confusion_matrix has 7 of 8"),
    ({"accuracy": {"n_test": 9}}, "confusion_matrix has 8 images, n_test is 9"),
    ({"accuracy": {"confusion_matrix": [[3, 1], [4]]}}, "confusion_matrix is not square"),
    ({"accuracy": {"confusion_matrix": [[3], [1]]}}, "confusion_matrix is not square"),
    ({"accuracy": {"confusion_matrix": [[3, -1], [0, 4]]}}, "confusion_matrix.0.1: Input should"),
    ({"accuracy": {"confusion_matrix": [[0, 0], [0, 0]]}}, "confusion_matrix has 0 images"),
    ({"accuracy": {"accuracy_top1": -1}}, "accuracy_top1: Input should be greater"),
    ({"accuracy": {"accuracy_top1_low": 88.0}}, "accuracy_top1 is outside its interval"),
    ({"accuracy": {"accuracy_top1_high": 87.0}}, "accuracy_top1 is outside its interval"),
    ({"accuracy": {"accuracy_top1_low": 90.0, "accuracy_top1_high": 80.0}}, "its interval"),
    ({"accuracy": {"accuracy_top5": 80.0}}, "accuracy_top5 is below accuracy_top1"),
    ({"accuracy": {"accuracy_fp32_check": {"images": 3}}}, "accuracy_fp32_check: accuracy_fp32"),
    ({"accuracy": {"accuracy_fp32_check": {"images": "x"}}}, "accuracy_fp32_check.images"),
    ({"data": {"classes": []}}, "data.classes are 0, accuracy.confusion_matrix has 2 rows"),
    ({"data": {"classes": ["a", "a"]}}, "data.classes: a name stands twice"),
    ({"data": {"classes": [1, 2]}}, "data.classes.0: Input should be a valid string"),
    ({"latency": {"latency_ms_p05": -1.0}}, "latency_ms_p05: Input should be greater"),
    ({"latency": {"latency_ms_p05": 2.0, "latency_ms_p50": 1.0}}, "do not ascend"),
    ({"settings": {"settings": {}}}, "settings.settings are empty"),
    ({"settings": {"settings": {"training": []}}}, "settings.settings.training is no section"),
    ({"operations": {"params": 1, "params_trainable": 2}}, "params_trainable is above params"),
    ({"weights": {"epochs": 3, "history": [{"epoch": 1}]}}, "weights.history.0.loss: Field"),
    ({"weights": {"history": {}}}, "weights.history: Input should be a valid"),
    ({"paths": [{"name": "a"}]}, "paths.0.classes: Field required"),
    ({"compression": {"base": "resnet"}}, "compression.method: Field required"),
    ({"machine": {"cores": [-1]}}, "machine.cores.0: Input should be greater"),
    ({"provenance": {"environment": {"libraries": 3}}}, "environment.libraries are not by name"),
]


@pytest.mark.parametrize(("changes", "words"), IMPOSSIBLE)
def test_what_cannot_be_true_is_named(tmp_path, changes, words):
    path = CELLS.write(tmp_path, make_record())
    fields = json.loads(path.read_text())
    for part, change in changes.items():
        fields[part] = fields[part] | change if isinstance(fields[part], dict) else change
    path.write_text(json.dumps(fields))
    good, (broken,) = CELLS.read_good(tmp_path)
    assert good == []
    assert broken.startswith(f"{path}: not a record (")
    assert words in broken
    assert "\n" not in broken


@pytest.mark.parametrize("depth", [150, 5000, 200_000])
def test_a_deeply_nested_record_is_named(tmp_path, depth):
    path = CELLS.write(tmp_path, make_record())
    nested = "[" * depth + "]" * depth
    path.write_text(path.read_text().replace('"seed": 0', f'"seed": {nested}', 1))
    with pytest.raises(RequestError, match=r"net-cpu.json: not a record") as caught:
        CELLS.read_all(tmp_path)
    assert len(str(caught.value)) < 500


def make_pipe(path):
    os.mkfifo(path)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize(
    ("make", "word"),
    [(make_pipe, "a pipe"), (make_socket, "a socket"), (Path.mkdir, "a folder")],
)
def test_what_is_no_file_is_named_and_not_waited_for(tmp_path, monkeypatch, make, word):
    path = CELLS.write(tmp_path, make_record())
    path.unlink()
    monkeypatch.chdir(path.parent)  # a socket's path is short
    make(Path(path.name))
    with pytest.raises(RequestError, match=f"net-cpu.json: {word} is there, a file wanted"):
        CELLS.read_all(tmp_path)


def test_half_a_file_is_named_and_left_as_it_is(tmp_path):
    path = CELLS.write(tmp_path, make_record())
    half = path.read_text()[:200]
    path.write_text(half)
    with pytest.raises(RequestError, match="not a record .*EOF"):
        CELLS.read_all(tmp_path)
    assert path.read_text() == half


def test_what_an_interrupted_write_leaves_is_no_record(tmp_path):
    path = CELLS.write(tmp_path, make_record())
    path.with_name(f".{path.name}.123.tmp").write_text("{")
    path.with_name("notes.txt").write_text("by hand")
    assert CELLS.read_all(tmp_path) == [make_record()]


@pytest.mark.parametrize("name", ["digits/net-cpu (copy).json", "svhn/net-cpu.json"])
def test_a_cell_that_is_there_twice_is_named(tmp_path, name):
    path = CELLS.write(tmp_path, make_record())
    copy = tmp_path / "records" / name
    copy.parent.mkdir(exist_ok=True)
    copy.write_text(path.read_text())
    with pytest.raises(RequestError, match="belongs to .*where there is another") as caught:
        CELLS.read_all(tmp_path)
    assert str(copy) in str(caught.value)


def test_a_record_in_the_place_of_another_is_not_taken_for_it(tmp_path):
    path = CELLS.write(tmp_path, make_record())
    other = Cell(dataset="digits", model="other", device="cpu")
    path.rename(path.with_name("other-cpu.json"))
    with pytest.raises(RequestError, match=f"belongs to {path}; move or delete it"):
        find_record(tmp_path, other)


def test_runs_with_other_seeds_lie_beside_the_record(tmp_path):
    first = make_record(seed=42)
    repeat = make_record(seed=1, repeat=True)
    paths = [CELLS.write(tmp_path, each) for each in (first, repeat)]
    assert [path.name for path in paths] == ["net-cpu.json", "net-cpu-seed1.json"]
    assert find_record(tmp_path, first.cell) == first
    assert find_record(tmp_path, first.cell, repeat_seed=1) == repeat
    assert find_record(tmp_path, first.cell, repeat_seed=2) is None


def test_a_results_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="results folder .*file.*cannot write"):
        check_writable(tmp_path / "file")
    check_writable(tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []


def test_published_weights_have_a_record_of_their_own(tmp_path):
    trained = make_record()
    published = make_record(settings={"weights": "published"})
    for record in (trained, published):
        CELLS.write(tmp_path, record)
    assert find_record(tmp_path, trained.cell) == trained
    assert find_record(tmp_path, trained.cell, published=True) == published
    assert {r.title for r in CELLS.read_all(tmp_path)} == {
        trained.label,
        f"{trained.label} (published weights)",
    }
