"""Figures: the same bytes twice, drawn only when something changed, readable on a dark page."""

import io
import itertools
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from matplotlib.scale import LogTransform
from PIL import Image

from harness.records.material import read_material
from harness.report import figures
from harness.report.canvas import new_figure, render_figure
from harness.report.figures import refresh_figures, stale_figures
from harness.report.labels import Label, place_labels, short_names
from harness.report.plots import plot_confusion, plot_training
from tests.records import changed

ROOT = Path(__file__).resolve().parents[3]
DRAWN = ["accuracy-gmacs", "resnet-cpu-confusion", "resnet-cpu-training"]
HOSTILE = "$x_2$ <b>&amp;"


@pytest.fixture(scope="module")
def drawn(make_run, tmp_path_factory):
    """Two folders with figures of the same record, one of each kind, and the record."""
    record = make_run(label=HOSTILE, dataset="cifar10", latency_ms_p50=None, weights_mb=None)
    folders = [tmp_path_factory.mktemp("figures") for _ in range(2)]
    for folder in folders:
        refresh_figures(folder, [record])
    return record, *folders


def test_every_figure_is_there_as_svg_and_png_with_the_same_bytes_twice(drawn, make_run):
    _, first, second = drawn
    files = sorted(path.relative_to(first) for path in first.rglob("*.*"))
    assert [path.name for path in files] == [f"{n}.{k}" for n in DRAWN for k in ("png", "svg")]
    for path in files:
        assert (first / path).read_bytes() == (second / path).read_bytes()
    names = [figure.stem.name for figure in figures.list_figures(first, [make_run()])]
    assert sorted(names) == sorted([*DRAWN, "accuracy-latency", "accuracy-size"])


def test_nothing_is_drawn_twice_and_a_change_is_noticed(drawn, monkeypatch, tmp_path):
    record, folder, _ = drawn
    monkeypatch.setattr(figures, "save_figure", lambda plot, *_, **__: pytest.fail(f"{plot}"))
    refresh_figures(folder, [record])
    assert stale_figures(folder, [record]) == []
    other = changed(record, gmacs=0.09)
    assert {path.stem for path in stale_figures(folder, [other])} == {"accuracy-gmacs"}
    assert len(stale_figures(tmp_path, [record])) == 2 * len(DRAWN)


NAMES = {
    "long": ["a" * 250, "a" * 249 + "b", "Plant___Yellow_Leaf_Curl_Disease"],
    "not Latin": ["猫", "描", "苗", "한국어", "ไทย", "हिन्दी", "🐱🦖", "\u200d"],
    "of the font": ["Ελλάδα", "Россия", "קטה", "كلب", "ﬁ"],
    "no letters": ["two\nlines", "tab\t", "\x1b[31m", "\ue000", "<b>&amp;$x$"],
}


@pytest.mark.parametrize("kind", NAMES)
def test_class_names_of_any_letters_and_length(make_run, kind, recwarn):
    names = NAMES[kind]
    matrix = [[index == row for index in range(len(names))] for row in range(len(names))]
    counts = [[int(value) for value in row] for row in matrix]
    record = make_run(dataset="写真" * 30, classes=names, confusion_matrix=counts)
    svg, png = render_figure(lambda: plot_confusion(record), ["svg", "png"])
    assert [str(warning.message) for warning in recwarn] == []
    texts = [
        text.text or "" for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    ]
    assert max(map(len, texts)) < 60
    assert len(Image.open(io.BytesIO(png)).getdata()) > 0


@pytest.mark.parametrize(
    ("names", "drawn"),
    [
        (["ant", "bee", "other", "other"], ["ant", "bee", "other", "other"]),
        (["猫", "毛", "Mao", "x"], ["Mao (1)", "Mao (2)", "Mao (3)", "x"]),
        (["Ελλάδα", "", "a\nb"], ["Ελλάδα", "?", "a\\nb"]),
        (["a" * 32, "a" * 33], ["a" * 32, "a" * 19 + "…" + "a" * 12]),
    ],
)
def test_names_that_can_be_drawn_stay_different(names, drawn):
    assert short_names(names) == drawn


def test_long_names_do_not_lie_over_each_other(make_run):
    names = [f"species number {index} of many" for index in range(8)]
    figure = plot_confusion(make_run(classes=names, confusion_matrix=[[1] * 8] * 8))
    figure.draw_without_rendering()
    for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis):
        boxes = [label.get_window_extent() for label in axis.get_ticklabels()]
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_one_of_the_two_files_does_not_do(drawn):
    record, folder, other = drawn
    path = folder / "figures/cifar10/accuracy-gmacs.svg"
    path.unlink()
    assert {each.suffix for each in stale_figures(folder, [record])} == {".svg", ".png"}
    path.write_bytes((other / "figures/cifar10/accuracy-gmacs.svg").read_bytes())
    assert stale_figures(folder, [record]) == []


def test_texts_are_texts_and_colours_have_dark_twins(drawn):
    _, folder, _ = drawn
    path = folder / "figures/cifar10/accuracy-gmacs.svg"
    root = ET.parse(path).getroot()
    texts = ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert HOSTILE in texts
    # The published cells are named, too.
    assert {"ResNet50", "TRUNK", "DinoV2"} <= set(texts)
    svg = path.read_text()
    assert "prefers-color-scheme:dark" in svg
    assert '[style*="fill: #ffffff"]{fill:#14181d !important}' in svg
    assert "<dc:date>" not in svg


def test_epochs_are_whole_numbers(make_run):
    for axes in plot_training(make_run()).axes:
        assert all(tick == int(tick) for tick in axes.get_xticks())


def test_a_png_is_small_and_on_white(drawn):
    _, folder, _ = drawn
    path = folder / "figures/cifar10/resnet-cpu-training.png"
    with Image.open(path) as image:
        assert image.mode == "P"
        assert image.convert("RGB").getpixel((1, 1)) == (255, 255, 255)
    assert path.stat().st_size < 20_000


def test_names_hide_neither_each_other_nor_points():
    axes = new_figure(6, 4).add_subplot(xlim=(0, 10), ylim=(0, 10))
    places = ((5, 5), (5.2, 5), (5.1, 5.2), (9.7, 5))
    for x, y in places:
        axes.errorbar([x], [y], [[1], [0]], fmt="o")
    limits = axes.get_xlim(), axes.get_ylim()
    place_labels(axes, [Label(x=x, y=y, text="a longish name") for x, y in places])
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 4
    pairs = [(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :]]
    assert not any(a.overlaps(b) for a, b in pairs)
    points = [axes.transData.transform((x, y - down)) for x, y in places for down in (0, 0.5, 1)]
    assert not any(box.contains(*point) for box in boxes for point in points)
    # There is no room to the right of the last.
    assert boxes[3].x1 < points[-1][0]
    assert (axes.get_xlim(), axes.get_ylim()) == limits


def test_names_do_not_cross_dashed_steps():
    axes = new_figure(6, 4).add_subplot(xlim=(0, 10), ylim=(0, 10))
    axes.plot([2, 4, 9], [2, 6, 6], "--", drawstyle="steps-post")
    place_labels(axes, [Label(x=2, y=2, text="a name that is long")])
    (box,) = [text.get_window_extent() for text in axes.texts]
    # The step from 2 to 6 is at 4, to the right of the point.
    steps = axes.transData.transform([(4, 2 + 0.1 * part) for part in range(40)])
    assert not any(box.contains(*point) for point in steps)


def test_the_last_bit_of_a_logarithm_does_not_change_a_picture(monkeypatch):
    """Processors differ in that bit; the layout once did, too, with these records."""
    records = read_material(ROOT / "results").of("digits").records
    (plot,) = [
        figure.plot
        for figure in figures.list_figures(ROOT / "none", records)
        if figure.stem.name == "accuracy-latency"
    ]
    expected = render_figure(plot, ["svg"])
    transform = LogTransform.transform_non_affine
    for factor in (1 - 2**-53, 1 + 2**-52):
        monkeypatch.setattr(
            LogTransform,
            "transform_non_affine",
            lambda self, values, factor=factor: factor * transform(self, values),
        )
        assert render_figure(plot, ["svg"]) == expected
