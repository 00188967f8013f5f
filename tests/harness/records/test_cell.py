"""Records: written whole, read back equal, and refused when they are not records."""

import dataclasses
import json

import pytest

from harness.errors import RequestError
from harness.jobs import Cell
from harness.records.cell import (
    Record,
    check_writable,
    find_record,
    record_path,
)


def make_record(**changes):
    fields = {
        "dataset": "digits",
        "model": "net",
        "label": "Net",
        "device": "cpu",
        "status": "ok",
        "accuracy_top1": 97.5,
        "confusion_matrix": [[3, 1], [0, 4]],
        "not_measured": {"accuracy_top5": "two classes"},
    }
    return Record(**(fields | changes))


def test_what_is_read_is_what_was_written(tmp_path):
    record = make_record()
    path = CELLS.write(tmp_path, record)
    assert path == tmp_path / "records" / "digits" / "net-cpu.json"
    assert CELLS.read(path) == record
    assert find_record(tmp_path, record.cell) == record
    assert find_record(tmp_path, Cell(dataset="digits", model="x", device="cpu")) is None


def test_what_was_not_measured_is_null(tmp_path):
    fields = json.loads(CELLS.write(tmp_path, make_record()).read_text())
    assert fields["accuracy_top5"] is None
    assert fields["latency_ms_p50"] is None


def test_a_field_is_a_line(tmp_path):
    lines = CELLS.write(tmp_path, make_record()).read_text().splitlines()
    assert len(lines) == len(dataclasses.fields(Record)) + 2


def test_records_come_in_order(tmp_path):
    for dataset, model in (("b", "x"), ("a", "z"), ("a", "y")):
        CELLS.write(tmp_path, make_record(dataset=dataset, model=model))
    assert [(r.dataset, r.model) for r in CELLS.read_all(tmp_path)] == [
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
        ('{"schema": 2, "nonsense": 2}', "schema 2, this version reads 1: it is of a newer"),
        ('{"schema": "1"}', "not a record"),
        ("", "not a record"),
        ("[]\n[]", "not a record"),
    ],
)
def test_what_is_no_record_is_named(tmp_path, text, words):
    path = record_path(tmp_path, make_record().cell)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(RequestError, match=words):
        CELLS.read_all(tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("accuracy_top1", "97.5", "accuracy_top1: Input should be a valid number"),
        ("accuracy_top1", True, "accuracy_top1: Input should be a valid number"),
        ("n_test", 1.5, "n_test: Input should be a valid integer"),
        ("status", "fine", "status: Input should be 'ok', 'failed' or 'unsupported'"),
        ("device", "tpu", "device: Input should be 'cpu' or 'cuda'"),
        ("confusion_matrix", [["a"]], "confusion_matrix.0.0: Input should be a valid integer"),
        ("accuracy_top1", float("nan"), "accuracy_top1: Input should be a finite number"),
        ("label", None, "label: Input should be a valid string"),
    ],
)
def test_a_field_of_another_type_is_named(tmp_path, field, value, words):
    path = CELLS.write(tmp_path, make_record())
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(RequestError, match=words) as caught:
        CELLS.read_all(tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


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


def test_a_record_of_an_older_version_is_left_out_and_named(tmp_path, caplog):
    old = CELLS.write(tmp_path, make_record(schema=0))
    new = make_record(model="other")
    CELLS.write(tmp_path, new)
    assert CELLS.read_all(tmp_path) == [new]
    assert f"left out: {old}: schema 0, this version reads 1; run its command" in caplog.text
    # Its cell counts as not done, so that it runs again.
    assert find_record(tmp_path, make_record().cell) is None
    assert old.exists()


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
    path.rename(record_path(tmp_path, other))
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
