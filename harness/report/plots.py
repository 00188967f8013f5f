"""Figures of one record: learning curves and the confusion matrix."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from harness.records.cell import Record
from harness.report.canvas import SERIES, new_figure
from harness.report.labels import plot_matrix, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
        axes.locator_params(axis="x", integer=True, min_n_ticks=1)
    figure.suptitle(f"{record.title}, {shorten(record.cell.dataset)}")
    return figure


def plot_confusion(record: Record) -> Figure:
    """Plot the confusion matrix as shares of each true class."""
    counts = record.accuracy.confusion_matrix
    names = [*record.data.classes, *["other"] * (len(counts[0]) - len(record.data.classes))]
    shares = [[count / max(sum(row), 1) for count in row] for row in counts]
    figure, axes, bar = plot_matrix(
        shares, names, lambda y, x: str(counts[y][x] or "·"), cmap="Blues", vmin=0, vmax=1
    )
    title = f"{record.title}, {shorten(record.cell.dataset)}"
    axes.set(xlabel="predicted", ylabel="true", title=title)
    bar.set_label("share of the true class")
    return figure
