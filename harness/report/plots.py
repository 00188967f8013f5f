"""Figures of one record: what training did, and what was taken for what."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from harness.records.cell import Record
from harness.report.canvas import SERIES, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# More classes than this leave no room for a number in each square.
_MOST_NUMBERED_CLASSES = 15
# On light and on dark squares; they stay what they are on a dark page, as the squares do.
_ON_LIGHT, _ON_DARK = "#08306b", "#fefefe"


def plot_training(record: Record) -> Figure:
    """Plot loss and accuracy on the training images over epochs, a line for each stage."""
    figure = new_figure(7.0, 2.8)
    runs = [list(run) for _, run in groupby(record.weights.history, key=lambda entry: entry.stage)]
    for index, (key, scale, title) in enumerate(
        (("loss", 1, "training loss"), ("accuracy", 100, "training accuracy, %")), start=1
    ):
        axes = figure.add_subplot(1, 2, index)
        done = 0
        for run in runs:
            epochs = range(done + 1, done + len(run) + 1)
            axes.plot(epochs, [scale * getattr(e, key) for e in run], marker=".", color=SERIES[0])
            done += len(run)
        axes.set(xlabel="epoch", title=title)
        axes.grid()
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{record.title}, {record.cell.dataset}", parse_math=False)
    return figure


def plot_confusion(record: Record) -> Figure:
    """Plot the confusion matrix as shares of each true class."""
    counts = record.accuracy.confusion_matrix
    labels = [*record.data.classes, *["other"] * (len(counts[0]) - len(record.data.classes))]
    side = max(4.5, 0.22 * len(labels))
    figure = new_figure(side + 0.8, side)
    axes = figure.add_subplot()
    shares = [[count / max(sum(row), 1) for count in row] for row in counts]
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(f"{record.title}, {record.cell.dataset}", parse_math=False)
    turned = 90 if len(labels) > 10 else 0
    axes.set_xticks(range(len(labels)), labels, rotation=turned, parse_math=False)
    axes.set_yticks(range(len(counts)), labels[: len(counts)], parse_math=False)
    if len(labels) <= _MOST_NUMBERED_CLASSES:
        for y, row in enumerate(counts):
            for x, count in enumerate(row):
                colour = _ON_DARK if shares[y][x] > 0.5 else _ON_LIGHT
                axes.text(x, y, str(count or "·"), ha="center", va="center", color=colour)
    figure.colorbar(image, ax=axes, label="share of the true class", fraction=0.046)
    return figure
