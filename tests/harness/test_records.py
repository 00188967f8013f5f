"""Records: written whole, read back equal, and refused when they are not records."""

import dataclasses
import json

import pytest

from harness.errors import RequestError
from harness.records import (
    Record,
    check_writable,
    find_record,
    read_record,
    read_records,
    record_path,
    write_record,
)
from harness.spec import Cell


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
    path = write_record(tmp_path, record)
    assert path == tmp_path / "records" / "digits" / "net-cpu.json"
    assert read_record(path) == record
    assert find_record(tmp_path, record.cell) == record
    assert find_record(tmp_path, Cell(dataset="digits", model="x", device="cpu")) is None


def test_what_was_not_measured_is_null(tmp_path):
    fields = json.loads(write_record(tmp_path, make_record()).read_text())
    assert fields["accuracy_top5"] is None
    assert fields["latency_ms_p50"] is None


def test_a_field_is_a_line(tmp_path):
    lines = write_record(tmp_path, make_record()).read_text().splitlines()
    assert len(lines) == len(dataclasses.fields(Record)) + 2


def test_records_come_in_order(tmp_path):
    for dataset, model in (("b", "x"), ("a", "z"), ("a", "y")):
        write_record(tmp_path, make_record(dataset=dataset, model=model))
    assert [(r.dataset, r.model) for r in read_records(tmp_path)] == [
        ("a", "y"),
        ("a", "z"),
        ("b", "x"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not a record"),
        ("[]", "not a record"),
        ('{"schema": 0}', "schema 0, this version reads 1"),
        ('{"schema": 1, "nonsense": 2}', "not a record"),
    ],
)
def test_what_is_no_record_is_named(tmp_path, text, words):
    path = record_path(tmp_path, make_record().cell)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(RequestError, match=words):
        read_records(tmp_path)


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
        write_record(tmp_path, record)
    assert find_record(tmp_path, trained.cell) == trained
    assert find_record(tmp_path, trained.cell, published=True) == published
    assert {r.title for r in read_records(tmp_path)} == {
        trained.label,
        f"{trained.label} (published weights)",
    }
