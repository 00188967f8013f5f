"""Tables: every digit from a record or a published cell, and nothing made up in between."""

import csv
import io

import pytest

from harness.errors import RequestError
from harness.records import Record, write_record
from harness.report.site import refresh, render_files, render_readme, stale_files
from harness.report.tables import render_csv, render_markdown
from harness.report.terminal import print_records


def make_record(**changes):
    fields = {
        "dataset": "cifar10",
        "model": "resnet",
        "label": "ResNet-50",
        "device": "cpu",
        "status": "ok",
        "accuracy_top1": 91.234,
        "accuracy_top1_low": 90.66,
        "accuracy_top1_high": 91.77,
        "latency_ms_p50": 25.078,
        "throughput_images_per_s": 51.6,
        "weights_mb": 94.3,
        "peak_memory_mb": 10.42,
        "params": 23_528_522,
        "gmacs": 4.0875,
        "gmacs_thop": 4.1317,
        "device_name": "a processor",
        "threads": 2,
        "weights_origin": "trained",
        "start": "random",
        "epochs": 2,
        "training_seconds": 90.0,
        "image_size": 224,
        "data_name": "some.npz",
        "data_sha256": "0123456789abcdef0123",
        "history": [
            {"epoch": 1, "loss": 2.0, "accuracy": 0.5},
            {"epoch": 2, "loss": 1.0, "accuracy": 0.75},
        ],
        "classes": ["a", "b"],
        "confusion_matrix": [[3, 1], [0, 4]],
    }
    return Record(**(fields | changes))


GOLDEN = """\
| Model | Top-1 % (95%) | published | Latency ms | published | Images/s | Weights MB | published \
| Peak MB | Params M | GMACs | thop GMACs | published | Notes |
| :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | :--- |
| ResNet-50 | 91.23 (90.7–91.8) | 85.09 | 25.08 | 6.23 | 52 | 94.30 | 94.43 | 10.42 | 23.53 \
| 4.088 | 4.132 | 4.13 | 2 epochs at 224 px from random weights, 1.5 min; images of some.npz, \
not the official split |

- Images: some.npz, **not the official split**, SHA-256 `0123456789abcdef…`
- Machine: a processor, 2 CPU threads; latency at batch 1 in fp32, accuracy in fp32
"""


def test_a_table_of_one_record():
    assert render_markdown([make_record()]) == GOLDEN


def test_published_columns_stand_only_where_something_was_published():
    text = render_markdown([make_record(dataset="digits")])
    assert "published" not in text
    text = render_markdown([make_record(), make_record(model="efficientnet", label="E")])
    row = next(line for line in text.splitlines() if line.startswith("| E |"))
    assert row.count("–") == 5  # four published cells, and the interval's own dash


def test_a_failed_cell_shows_its_reason_and_no_figure():
    record = Record(
        dataset="digits",
        model="net",
        label="Net",
        device="cpu",
        status="failed",
        reason="loss is nan",
    )
    row = render_markdown([record]).splitlines()[2]
    assert row == "| Net | – | – | – | – | – | – | – | – | failed: loss is nan |"


def test_a_small_figure_is_not_shown_as_none():
    text = render_markdown([make_record(gmacs=0.00026368, latency_ms_p50=0.0)])
    assert "| 0.00026 |" in text
    assert "| 0.00 |" in text


def test_the_csv_keeps_measured_and_published_apart():
    (row,) = csv.DictReader(io.StringIO(render_csv([make_record()])))
    assert row["accuracy_top1"] == "91.234"
    assert row["published_accuracy_top1"] == "85.09"
    assert row["accuracy_top5"] == ""
    assert row["latency_ms_p50"] == "25.078"


def test_the_files_made_from_records():
    files = {str(path): text for path, text in render_files([make_record()]).items()}
    assert files["training/cifar10/resnet-cpu.csv"] == "epoch,loss,accuracy\n1,2,0.5\n2,1,0.75\n"
    assert files["confusion/cifar10/resnet-cpu.csv"] == "3,1\n0,4\n"
    assert files["cifar10.md"].startswith("# cifar10\n\n| Model |")


def test_refreshing_twice_changes_nothing(tmp_path):
    write_record(tmp_path, make_record())
    refresh(tmp_path)
    first = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    kinds = {".json", ".csv", ".md", ".png", ".svg", ".html", ".js", ".LICENSE"}
    assert {path.suffix for path in first} == kinds
    refresh(tmp_path)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == first


def test_the_readme_takes_the_table_between_its_marks():
    text = "a\n<!-- results: cifar10 -->\nold\n<!-- results: end -->\nb\n"
    once = render_readme(text, [make_record()])
    assert once == f"a\n<!-- results: cifar10 -->\n{GOLDEN}<!-- results: end -->\nb\n"
    assert render_readme(once, [make_record()]) == once
    with pytest.raises(RequestError, match="no records of 'cifar10'"):
        render_readme(text, [])
    with pytest.raises(RequestError, match="has no <!-- results: end -->"):
        render_readme("<!-- results: cifar10 -->\n", [make_record()])


def test_stale_files_are_named(tmp_path):
    results = tmp_path / "results"
    (tmp_path / "README.md").write_text("<!-- results: cifar10 -->\n<!-- results: end -->\n")
    write_record(results, make_record())
    refresh(results)
    assert stale_files(tmp_path) == [tmp_path / "README.md"]
    write_record(results, make_record(accuracy_top1=50.0))
    assert results / "cifar10.csv" in stale_files(tmp_path)


def test_a_reason_is_no_markup(capsys):
    record = make_record(status="failed", reason="a|b in [/path] [red]")
    assert r"failed: a\|b in [/path] [red]" in render_markdown([record])
    print_records([record])
    assert "failed: a|b in [/path] [red]" in capsys.readouterr().out
