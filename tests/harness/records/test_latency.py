"""Comparisons of latencies on disk: read as written, or refused by name."""

import dataclasses
import json
from pathlib import Path

import pytest

from harness.errors import CellError, RequestError
from harness.records.cost import COSTS
from harness.records.latency import LATENCIES, latency_place

STORED = Path(__file__).parent / "stored"


def test_a_comparison_is_read_as_it_was_written(tmp_path, make_latency_record):
    record = make_latency_record()
    path = LATENCIES.write(tmp_path, record)
    assert path == tmp_path / "latency" / "cifar10-cpu-2t.json"
    assert LATENCIES.read_all(tmp_path) == [record]
    assert json.loads(path.read_text())["rows"][2]["ratio"] is None


def test_comparisons_of_other_threads_and_devices_lie_beside_it(tmp_path, make_latency_record):
    first = make_latency_record()
    others = [
        make_latency_record(threads=1),
        make_latency_record(device="cuda"),
        make_latency_record(dataset="emnist"),
    ]
    for record in (first, *others):
        LATENCIES.write(tmp_path, record)
    LATENCIES.write(tmp_path, make_latency_record(rounds=20))
    found = LATENCIES.read_all(tmp_path)
    assert [(r.dataset, r.device, r.machine.threads, r.rounds) for r in found] == [
        ("cifar10", "cpu", 1, 100),
        ("cifar10", "cpu", 2, 20),
        ("cifar10", "cuda", 2, 100),
        ("emnist", "cpu", 2, 100),
    ]


def test_a_comparison_of_before_there_were_several_processes(tmp_path, make_latency_record):
    path = LATENCIES.write(tmp_path, make_latency_record())
    fields = json.loads(path.read_text())
    del fields["processes"]
    for row in fields["rows"]:
        del row["ratio_by_process"]
    path.write_text(json.dumps(fields))
    (found,) = LATENCIES.read_all(tmp_path)
    assert found.processes == 1
    assert [row.ratio_by_process for row in found.rows] == [[]] * 4


def test_no_comparisons(tmp_path):
    assert LATENCIES.read_all(tmp_path) == []


BREAK = {
    "no JSON": lambda _: "{",
    "no text": lambda _: b"\xff\xfe",
    "a list": lambda _: "[1]",
    "no rows": lambda f: {k: v for k, v in f.items() if k != "rows"},
    "rows of numbers": lambda f: f | {"rows": [1]},
    "a foreign field": lambda f: f | {"colour": "red"},
    "a foreign field in a row": lambda f: f | {"rows": [f["rows"][0] | {"colour": "red"}]},
    "a missing field": lambda f: {k: v for k, v in f.items() if k != "rounds"},
    "a cell's record": lambda _: {"schema": 1, "dataset": "digits", "model": "vit"},
}


@pytest.mark.parametrize("change", BREAK.values(), ids=BREAK)
def test_a_broken_comparison_is_named(tmp_path, make_latency_record, change):
    path = LATENCIES.write(tmp_path, make_latency_record())
    content = change(json.loads(path.read_text()))
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(
        RequestError, match="not a comparison .*; mend it, or delete it and run again"
    ) as caught:
        LATENCIES.read_all(tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_schema_is_named(tmp_path, make_latency_record):
    path = LATENCIES.write(tmp_path, make_latency_record())
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 99}))
    with pytest.raises(
        RequestError, match="schema 99, this version reads 2: it is of a newer version"
    ) as caught:
        LATENCIES.read_all(tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("store", "kind"), [(LATENCIES, "latency"), (COSTS, "cost")])
def test_a_stored_file_of_each_schema_is_read(store, kind):
    old, new = (store.read(STORED / f"{kind}-{schema}.json") for schema in (1, 2))
    assert old == new
    assert old.provenance.command.startswith("python comparisons.py")


def test_a_copy_under_another_name_is_named(tmp_path, make_latency_record):
    path = LATENCIES.write(tmp_path, make_latency_record())
    copy = path.with_name("cifar10-cpu-8t.json")
    copy.write_text(path.read_text())
    with pytest.raises(RequestError, match=f"{copy.name}: by its contents it belongs to {path}"):
        LATENCIES.read_all(tmp_path)


def test_a_comparison_that_cannot_be_written(tmp_path, make_latency_record):
    (tmp_path / "latency").write_text("a file, no folder")
    with pytest.raises(CellError, match="cannot write .*cifar10-cpu-2t.json"):
        LATENCIES.write(tmp_path, make_latency_record())


def test_figures_that_are_no_numbers_are_not_written(tmp_path, make_latency_record):
    record = dataclasses.replace(make_latency_record(), drift=float("nan"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        LATENCIES.write(tmp_path, record)
    assert not (tmp_path / latency_place("cifar10", "cpu", 2)).exists()
