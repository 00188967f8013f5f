"""What the paths of a routed network cost, beside the published ranges."""

import pytest

from harness.report.paths import render_paths
from tests.records import cell_record, files_of, findings_of


def path(name, images, **changes):
    fields = {
        "name": name,
        "classes": 2,
        "images": images,
        "gmacs": 0.01,
        "gmacs_thop": 0.02,
        "weights_mb": 0.5,
        "params": 125_000,
        "latency_ms_p50": 1.0,
    }
    return fields | changes


def record_of(paths, dataset="emnist", **changes):
    return cell_record(
        dataset=dataset,
        model="trunk",
        label="TRUNK",
        device="cpu",
        status="ok",
        paths=paths,
        weights_origin="trained",
        start="random",
        epochs=5,
        training_seconds=60.0,
        image_size=28,
        **changes,
    )


PATHS = [
    path("root", 30),
    path("0", 50, gmacs=0.02, weights_mb=0.7, params=200_000),
    path("0-1", 20, gmacs=0.03, gmacs_thop=0.05, latency_ms_p50=3.0),
]


def test_shortest_longest_and_mean_stand_above_the_published_ranges():
    assert (
        render_paths([record_of(PATHS)])
        == """
## TRUNK: 3 paths

| Path | Test images | GMACs | thop GMACs | Weights MB | Params M | Latency ms |
| :--- | ---: | ---: | ---: | ---: | ---: | ---: |
| shortest: to node root | 30 | 0.0100 | 0.0200 | 0.500 | 0.125 | 1.00 |
| longest: to node 0-1 | 20 | 0.0300 | 0.0500 | 0.500 | 0.125 | 3.00 |
| mean image | 100 | 0.0190 | 0.0260 | 0.600 | 0.163 | 1.40 |
| published | – | – | 0.04-0.37 | 0.23-0.76 | – | 102.5 |
"""
    )


def test_what_was_not_counted_is_a_dash_and_not_part_of_a_mean():
    text = render_paths([record_of([path("root", 1, gmacs_thop=None), path("0", 1)])])
    assert "| shortest: to node root | 1 | 0.0100 | – |" in text
    assert "| mean image | 2 | 0.0100 | – |" in text


@pytest.mark.parametrize("dataset", ["digits", "emnist"])
def test_the_published_line_stands_where_something_was_published(dataset):
    assert ("| published |" in render_paths([record_of(PATHS, dataset)])) == (dataset == "emnist")


def test_the_page_of_a_data_set_has_the_section():
    findings = findings_of([record_of(PATHS)])
    files = files_of(findings)
    assert files["emnist.md"].endswith(render_paths([record_of(PATHS)]))
    assert render_paths([record_of([])]) == ""


def test_the_notes_of_the_table_say_what_the_mean_is_of(make_epoch):
    history = [make_epoch(stage=name) for name in ("a", "a", "b")]
    text = findings_of([record_of(PATHS, history=history)]).tables["emnist"]
    assert "mean of 3 paths, 0.01–0.03 GMACs" in text
    assert "5 epochs in 2 stages at 28 px" in text


def test_the_learning_curve_names_the_stages(make_epoch):
    history = [make_epoch(stage="root.classes", loss=0.123456789)]
    findings = findings_of([record_of([], history=history)])
    files = files_of(findings)
    assert files["training/emnist/trunk-cpu.csv"] == (
        "stage,epoch,loss,accuracy,learning_rate,seconds\nroot.classes,1,0.123457,0.5,0.01,1\n"
    )
