"""Predicted latencies, joined with the measured ones, drawn, and shown on the page."""

import pytest

from harness.errors import RequestError
from harness.report.figures import refresh_figures, stale_figures
from harness.report.page import render_page_files
from harness.report.roofline import Bound, plot_roofline, read_rooflines
from tests.records import findings_of

CSV = """model,image_size,hardware,latency_bound_ms,reason
ours:resnet,32,a processor,0.5,
ours:vgg,32,a processor,,it does not fit
ours:vit,224,a processor,9,
timm:resnet18,32,a processor,0.25,
"""


@pytest.fixture
def results(tmp_path):
    (tmp_path / "roofline").mkdir()
    (tmp_path / "roofline" / "digits-cpu.csv").write_text(CSV)
    return tmp_path


def test_bounds_are_joined_with_what_was_measured_at_that_size(results, make_run):
    others = [make_run(seed=2, repeat=True), make_run(device="cuda"), make_run(dataset="emnist")]
    records = [make_run(), make_run("vgg"), make_run("vit"), *others]
    (roofline,) = read_rooflines(results, records)
    assert (roofline.name, roofline.hardware) == ("digits-cpu", "a processor")
    assert roofline.bounds == [Bound(title="Resnet", bound_ms=0.5, latency_ms=4.0)]
    assert read_rooflines(results, others) == []


def test_the_line_of_equality_is_where_it_belongs(results, make_run):
    (roofline,) = read_rooflines(results, [make_run()])
    (axes,) = plot_roofline(roofline).axes
    points, line, *_ = axes.lines
    assert (*points.get_xdata(), *points.get_ydata()) == (0.5, 4.0)
    assert list(line.get_xdata()) == list(line.get_ydata())
    assert axes.get_xlim()[0] < 0.5 < axes.get_xlim()[1]


def test_the_figure_is_drawn_and_on_the_page_at_once(results, make_run):
    record = make_run(history=[], confusion_matrix=[], accuracy_top1=None)
    findings = findings_of([record])
    parts = (findings.material, findings.reproduction, findings.compared)
    (page, *_) = render_page_files(results, *parts).values()
    assert 'src="figures/roofline-digits-cpu.svg"' in page
    assert len(stale_figures(results, [record])) == 2
    refresh_figures(results, [record])
    assert stale_figures(results, [record]) == []
    assert (results / "figures" / "roofline-digits-cpu.png").exists()


@pytest.mark.parametrize(
    "text", ["model,image_size\nours:resnet,32\n", "a\x00b", CSV.replace("0.5", "x")]
)
def test_another_file_is_refused_in_one_line(results, make_run, text):
    (results / "roofline" / "digits-cpu.csv").write_text(text)
    with pytest.raises(RequestError, match=r"digits-cpu\.csv: not what 'cli/compare_models\.py"):
        read_rooflines(results, [make_run()])
