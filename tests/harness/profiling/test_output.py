"""What is shown, in every form: the counting named, failures with their reasons, nothing lost."""

import base64
import csv
import io
import json
import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from harness.profiling import forms
from harness.profiling.analysis import Failure
from harness.profiling.forms import render
from harness.profiling.hardware import Roof
from harness.profiling.layers import group_layers
from harness.profiling.metrics import Metrics
from harness.profiling.names import ModelName
from harness.profiling.plots import plot_report
from harness.profiling.ranking import rank, recommend
from harness.profiling.report import Report, describe_counting
from harness.profiling.request import Options
from harness.report.canvas import render_figure

ROOF = Roof(
    name="a device",
    precision="fp16",
    peak_gflops_per_s=100_000.0,
    bandwidth_gb_per_s=1000.0,
    source="made up",
)
OPTIONS = Options(image_size=96, batch_size=4, channels=1, classes=10, precision="fp16", roof=ROOF)


@pytest.fixture(name="report", scope="module")
def _report(make_operator, make_analysis):
    operators = [
        make_operator(macs=500_000_000, flops=1_000_000_000, input_bytes=2_000_000, channels=8),
        make_operator(name="relu", module="act|2", flops=1_000, output_bytes=8_000),
    ]
    small = make_analysis("small", operators[:1], roof=ROOF, params=2_000_000)
    large = make_analysis("$large$", operators, source="timm", roof=ROOF, params=11_689_512)
    rows = [small, Failure(name=ModelName(source="hf", name="odd"), reason="a < b & c"), large]
    return Report(
        options=OPTIONS,
        rows=rows,
        extremes=rank([small, large]),
        recommendation=recommend([small, large], "server", ROOF),
        layers_of=large,
        layers=group_layers(large.graph, ROOF),
    )


@pytest.mark.parametrize("transpose", [False, True])
def test_every_form_names_accounting_images_batch_precision_hardware_and_failures(
    report, transpose, monkeypatch
):
    monkeypatch.setattr(forms, "render_figure", lambda plot, kinds: [b"a picture"])
    texts = [
        render(report, "table", transpose=transpose),
        render(report, "markdown", transpose=transpose),
        render(report, "html", transpose=transpose).replace("&lt;", "<").replace("&amp;", "&"),
    ]
    for text in texts:
        assert "accounting: complete: every operator" in text
        assert (
            "one forward pass of 4 images of 1 channel, 96×96, 10 classes, in fp16 (2 bytes" in text
        )
        assert "a device: 100 TFLOP/s in fp16, 1000 GB/s (made up)" in text
        assert "hf:odd: no figures: a < b & c" in text
        assert "recommended for server: small" in text
        assert "smallest: small (2.00 M); largest: timm:$large$ (11.69 M)" in text
        assert "timm:$large$ at 224 px, by module" in text
        assert "11.69" in text


def test_the_table_is_aligned_models_across(report):
    lines = render(report, "table", transpose=False).splitlines()
    header = next(line for line in lines if "hf:odd" in line)
    parameters = next(line for line in lines if line.startswith("parameters, M"))
    assert header.split() == ["small", "hf:odd", "timm:$large$"]
    assert parameters.split()[2:] == ["2.00", "–", "11.69"]
    assert len(header) == len(parameters)
    assert "computation" in lines


def test_more_than_six_models_stand_below_each_other(make_analysis):
    rows = [make_analysis(f"m{number}", source="timm") for number in range(40)]
    for count, down in ((6, False), (7, True), (40, True)):
        lines = render(Report(options=OPTIONS, rows=rows[:count]), "table", width=80).splitlines()
        assert ("size" in lines and any(line.startswith("timm:m0 ") for line in lines)) == down
        named = [line for line in lines if "timm:" in line and "; " not in line]
        assert max(map(len, named)) <= 80


def test_the_layers_end_with_their_sum(report):
    text = render(report, "table", transpose=False)
    line = next(line for line in text.splitlines() if line.startswith("total "))
    assert line.split()[1:3] == ["2", "operators"]
    assert "500.00" in line


def test_what_publishers_state_stands_apart_from_what_was_measured(report):
    stated = {"published_top1": 69.758, "published_weights": "Some_Weights.V1"}
    rows = report.rows
    both = Report(options=OPTIONS, rows=rows, published={rows[0].name: stated})
    small, odd, _ = json.loads(render(both, "json"))["models"]
    assert (small["published_top1"], odd["published_top1"]) == (69.758, None)
    assert small["published_weights"] == "Some_Weights.V1"
    text = render(both, "table")
    line = next(line for line in text.splitlines() if line.startswith("of weights"))
    assert line.split() == ["of", "weights", "V1", "–", "–"]
    assert "nothing of them was measured here" in text


def test_a_model_without_a_classifier_is_said_to_have_none(make_analysis):
    rows = [
        replace(make_analysis("headless"), outputs=((4, 768),)),
        replace(make_analysis("whole"), outputs=((4, 10),)),
    ]
    text = render(Report(options=OPTIONS, rows=rows), "table")
    assert "headless: it has no classifier: it gives 4×768 numbers, not 10 classes" in text
    assert "whole: it has no" not in text


def test_the_transposed_table_has_models_down(report):
    text = render(report, "table", transpose=True)
    size = text.split("\nsize\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in size[1:]] == ["small", "hf:odd", "timm:$large$"]
    assert len({len(line) for line in size}) == 1


@pytest.mark.parametrize("transpose", [False, True])
def test_a_narrow_terminal_gets_several_tables_and_loses_nothing(report, transpose):
    wide = render(report, "table", transpose=transpose)
    narrow = render(report, "table", transpose=transpose, width=60)
    tables, _ = narrow.split("\nsmallest: ")
    # What says how it was counted is no table.
    lines = tables.split("\n\n", 1)[1].splitlines()
    assert max(map(len, lines)) <= 60
    assert set(wide.split()) <= set(narrow.split())


def test_markdown_has_as_many_cells_in_every_row_and_no_stray_bars(report):
    for table in render(report, "markdown", transpose=False).split("\n\n"):
        rows = [line for line in table.splitlines() if line.startswith("|")]
        assert len({line.replace(r"\|", "").count("|") for line in rows}) <= 1
    assert r"act\|2" in render(report, "markdown", transpose=False)


def test_json_has_every_figure_in_full_and_null_with_a_reason(report):
    tree = json.loads(render(report, "json", transpose=False))
    assert (tree["accounting"], tree["batch_size"], tree["precision"]) == ("complete", 4, "fp16")
    assert tree["hardware"]["name"] == "a device"
    small, odd, large = tree["models"]
    assert set(Metrics.__dataclass_fields__) <= set(small)
    assert large["params"] == 11_689_512
    assert small["reason"] is None
    assert odd.keys() == small.keys()
    assert {name: value for name, value in odd.items() if value is not None} == {
        "model": "hf:odd",
        "title": "hf:odd",
        "reason": "a < b & c",
    }
    assert set(tree["versions"]) == {"torch", "torchvision", "timm", "transformers"}
    assert set(Metrics.__dataclass_fields__) <= set(tree["units"])
    assert (tree["units"]["params"], tree["units"]["traffic_mb"]) == ("parameters", "MB")
    assert tree["layers_total"]["module"] == "total"
    assert tree["layers_of"] == "timm:$large$"
    assert [layer["module"] for layer in tree["layers"]] == ["layer", "act|2"]
    assert tree["recommendation"]["scores"][0][0] == "small"


def test_csv_has_a_line_for_each_model_or_each_layer(report):
    models = Report(options=OPTIONS, rows=report.rows)
    rows = list(csv.DictReader(io.StringIO(render(models, "csv", transpose=False))))
    assert [row["model"] for row in rows] == ["small", "hf:odd", "timm:$large$"]
    assert rows[2]["params"] == "11689512"
    assert rows[0]["accounting"] == "complete"
    assert (rows[1]["params"], rows[1]["reason"]) == ("", "a < b & c")
    layers = list(csv.DictReader(io.StringIO(render(report, "csv", transpose=False))))
    assert [(row["model"], row["module"]) for row in layers] == [
        ("timm:$large$", "layer"),
        ("timm:$large$", "act|2"),
    ]


def test_without_any_figures_there_is_no_table_of_dashes(report):
    nothing = Report(options=OPTIONS, rows=report.failures)
    assert "parameters" not in render(nothing, "table", transpose=False)
    assert "hf:odd: no figures" in render(nothing, "table", transpose=False)


def test_the_page_is_one_well_formed_file_with_the_picture_drawn_the_same_every_time(report):
    (svg,) = render_figure(lambda: plot_report(report), ["svg"])
    page = render(report, "html", transpose=False)
    assert f'src="data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"' in page
    head, body = page.split("<body>")
    assert "://" not in head
    ET.fromstring(f"<body>{re.sub('<img.*?>', '', body.split('</body>')[0])}</body>")
    ET.fromstring(svg)


def test_a_picture_of_models_without_operations_is_drawn_too(make_analysis):
    report = Report(options=OPTIONS, rows=[make_analysis("empty", [])])
    (svg,) = render_figure(lambda: plot_report(report), ["svg"])
    ET.fromstring(svg)


def test_the_counting_of_models_at_their_own_sizes_says_so():
    first, second = describe_counting(Options(accounting="published"))
    assert first.startswith("accounting: published: as in published tables")
    assert second == (
        "one forward pass of 1 image of 3 channels, each model's own size, 1000 classes, "
        "in fp32 (4 bytes a number)"
    )
