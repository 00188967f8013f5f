"""Figures made from the records: learning curves, confusion matrices, accuracy against cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from harness.files import atomic_path
from harness.records import Record
from harness.settings import hash_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DIGEST = "Source-SHA256"
# More classes than this leave no room for a number in each square.
_MOST_NUMBERED_CLASSES = 15


def refresh_figures(results: Path, records: Sequence[Record]) -> None:
    """Draw the figures whose data differ from what they were drawn from.

    Each PNG carries a digest of its data, so that a figure that is up to date costs no drawing.

    Raises:
        CellError: A file cannot be written.
    """
    for record in records:
        draw_record(results, record)
    for dataset, group in groupby(records, key=lambda record: record.dataset):
        measured = [r for r in group if r.accuracy_top1 is not None and r.gmacs is not None]
        if measured:
            data = [[r.title, r.accuracy_top1, r.gmacs, r.weights_mb, r.device] for r in measured]
            path = results / "figures" / dataset / "accuracy-gmacs.png"
            _draw(path, data, partial(plot_accuracy, measured))


def draw_record(results: Path, record: Record) -> list[Path]:
    """Draw the figures of one record where they are not up to date, and return their files.

    Raises:
        CellError: A file cannot be written.
    """
    stem = results / "figures" / record.dataset / record.stem
    files = []
    if record.history:
        files.append(stem.with_name(f"{stem.name}-training.png"))
        _draw(files[-1], [record.title, record.history], partial(plot_training, record))
    if record.confusion_matrix:
        files.append(stem.with_name(f"{stem.name}-confusion.png"))
        data = [record.title, record.classes, record.confusion_matrix]
        _draw(files[-1], data, partial(plot_confusion, record))
    return files


def plot_training(record: Record) -> Figure:
    """Plot loss and accuracy on the training images over epochs, a line for each stage."""
    figure = _figure(7.0, 2.8)
    runs = [list(run) for _, run in groupby(record.history, key=lambda entry: entry.get("stage"))]
    for index, (key, scale, title) in enumerate(
        (("loss", 1, "training loss"), ("accuracy", 100, "training accuracy, %")), start=1
    ):
        axes = figure.add_subplot(1, 2, index)
        done = 0
        for run in runs:
            epochs = range(done + 1, done + len(run) + 1)
            axes.plot(epochs, [scale * e[key] for e in run], marker=".", color="#2b6cb0")
            done += len(run)
        axes.set(xlabel="epoch", title=title)
        axes.grid(alpha=0.3)
    figure.suptitle(f"{record.title}, {record.dataset}")
    return figure


def plot_confusion(record: Record) -> Figure:
    """Plot the confusion matrix as shares of each true class."""
    counts = record.confusion_matrix
    labels = [*record.classes, *["other"] * (len(counts[0]) - len(record.classes))]
    side = max(4.5, 0.22 * len(labels))
    figure = _figure(side + 0.8, side)
    axes = figure.add_subplot()
    shares = [[count / max(sum(row), 1) for count in row] for row in counts]
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true", title=f"{record.title}, {record.dataset}")
    axes.set_xticks(range(len(labels)), labels, rotation=90 if len(labels) > 10 else 0)
    axes.set_yticks(range(len(counts)), labels[: len(counts)])
    if len(labels) <= _MOST_NUMBERED_CLASSES:
        for y, row in enumerate(counts):
            for x, count in enumerate(row):
                color = "white" if shares[y][x] > 0.5 else "black"
                axes.text(x, y, str(count or "·"), ha="center", va="center", color=color)
    figure.colorbar(image, ax=axes, label="share of the true class", fraction=0.046)
    return figure


def plot_accuracy(records: Sequence[Record]) -> Figure:
    """Plot top-1 accuracy with its 95% interval against GMACs; the area shows the weights' size."""
    from matplotlib.ticker import LogLocator, NullFormatter

    figure = _figure(7.6, 4.0)
    axes = figure.add_subplot()
    for index, record in enumerate(sorted(records, key=lambda r: r.gmacs or 0)):
        accuracy, gmacs = record.accuracy_top1 or 0.0, record.gmacs or 0.0
        low, high = record.accuracy_top1_low or accuracy, record.accuracy_top1_high or accuracy
        color = f"C{index % 10}"
        axes.errorbar(
            gmacs,
            accuracy,
            [[accuracy - low], [high - accuracy]],
            color=color,
            capsize=3,
            alpha=0.5,
        )
        area = 20 + 1.2 * (record.weights_mb or 0.0)
        label = f"{record.title} ({record.weights_mb:.3g} MB)"
        axes.scatter(gmacs, accuracy, s=area, color=color, alpha=0.7, label=label)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel="GMACs an image (log)", ylabel="top-1 accuracy, % (95% interval)")
    axes.set_title(f"{records[0].dataset}: accuracy against cost")
    axes.grid(alpha=0.3)
    legend = axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    for handle in legend.legend_handles:
        handle.set_sizes([40.0])  # type: ignore[union-attr]
    return figure


def _figure(width: float, height: float) -> Figure:
    """Return a figure of that size in inches, independent of any display or global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    return figure


def _draw(path: Path, data: object, plot: Callable[[], Figure]) -> None:
    digest = hash_json(data)
    if path.exists():
        with Image.open(path) as image:
            if image.info.get(_DIGEST) == digest:
                return
    with atomic_path(path) as temporary:
        plot().savefig(temporary, format="png", metadata={_DIGEST: digest})
