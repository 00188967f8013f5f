"""Accuracy of one tree against cost, by the number of paths that an image may follow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.report.canvas import FAINT, INK, SERIES, new_figure
from harness.report.labels import Label, place_labels
from harness.report.table import Column, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = "osD^v"
_OUTER = 8


@dataclass(frozen=True, kw_only=True)
class Point:
    """One way to run a tree, or another network for comparison, on the same test images.

    Attributes:
        name: The network.
        beam: The largest number of paths of an image; None for another network.
        threshold: The least probability of a choice at which a further path begins.
        images: The number of test images.
        accuracy_top1: Percent, with the ends of its 95% Wilson interval.
        gained: The number of images that are right here and wrong along one path.
        lost: The number of images that are wrong here and right along one path.
        several_percent: The share of images that ran nodes of several paths.
        gmacs: 10^9 multiply-accumulates of the mean image; a node counts once an image.
        latency_ms: The mean time of single images in the compiled nodes; median over the rounds.
    """

    name: str
    beam: int | None = None
    threshold: float | None = None
    images: int
    accuracy_top1: float
    accuracy_top1_low: float
    accuracy_top1_high: float
    gained: int | None = None
    lost: int | None = None
    several_percent: float | None = None
    gmacs: float | None
    latency_ms: float | None = None


def curve_table(points: Sequence[Point]) -> Table:
    """Return a row for each point."""
    columns = (
        Column[Point](name="network", get="name"),
        Column[Point](name="beam", get="beam", align="r"),
        Column[Point](name="threshold", get="threshold", align="r"),
        Column[Point](name="top-1 %", get="accuracy_top1", digits=2),
        Column[Point](name="gained", get="gained", digits=0),
        Column[Point](name="lost", get="lost", digits=0),
        Column[Point](name="several paths %", get="several_percent", digits=2),
        Column[Point](name="GMACs", get="gmacs", digits=5),
        Column[Point](name="latency ms", get="latency_ms", digits=3),
    )
    return Table.of(points, columns)


def plot_curve(points: Sequence[Point], title: str) -> Figure:
    """Draw accuracy against mean operations, and against latency where it is known.

    The first point, along one path, has its interval. The title begins the text above the picture.
    """
    figure = new_figure(9.4, 4.2)
    left, right = figure.subplots(1, 2, sharey=True)
    _plot_against(left, points, "gmacs")
    _plot_against(right, points, "latency_ms")
    for axes in (left, right):
        axes.locator_params(axis="x", nbins=5)
    left.set(xlabel="GMACs of the mean image", ylabel="top-1 accuracy, %")
    right.set(xlabel="mean ms of a single image, compiled nodes")
    figure.suptitle(
        f"{title}\nnumbers: thresholds, all of the grid; the test images chose none of them. "
        "Bar: 95% interval",
        x=0.01,
        ha="left",
        fontsize=9,
    )
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5)
    for axes, cost in ((left, "gmacs"), (right, "latency_ms")):
        place_labels(axes, _thresholds(points, cost))
    return figure


def _plot_against(axes: Axes, points: Sequence[Point], cost: str) -> None:
    first = points[0]
    start = (getattr(first, cost), first.accuracy_top1)
    spread = [
        [first.accuracy_top1 - first.accuracy_top1_low],
        [first.accuracy_top1_high - first.accuracy_top1],
    ]
    for index, (name, line) in enumerate(_lines(points)):
        colour, marker = SERIES[index % len(SERIES)], _MARKERS[index % len(_MARKERS)]
        xs, ys = [getattr(p, cost) for p in line], [p.accuracy_top1 for p in line]
        axes.plot([start[0], *xs], [start[1], *ys], color=colour, linewidth=1, zorder=1)
        # The first lines are larger, so that they are seen below the others.
        size = _OUTER - 2 * min(index, 2)
        axes.plot(xs, ys, marker, color=colour, markersize=size, label=name, zorder=2 + index)
    axes.errorbar(*start, yerr=spread, fmt="o", color=INK, capsize=3, label="1 path")
    for point, marker in zip(
        (p for p in points if p.beam is None), "*PXhp<" * len(points), strict=False
    ):
        if getattr(point, cost) is not None:
            at = (getattr(point, cost), point.accuracy_top1)
            axes.plot(*at, marker, color=INK, markersize=9, label=point.name)


def _thresholds(points: Sequence[Point], cost: str) -> list[Label]:
    """Return the thresholds beside the points of the fewest paths above one."""
    _, line = next(_lines(points), ("", []))
    return [
        Label(
            x=getattr(point, cost),
            y=point.accuracy_top1,
            text=f"{point.threshold:g}",
            colour=FAINT,
            size=7,
        )
        for point in line
    ]


def _lines(points: Sequence[Point]) -> Iterator[tuple[str, list[Point]]]:
    """Yield the points of each number of paths above one, by ascending cost, with a name."""
    for beam in sorted({point.beam for point in points if point.beam and point.beam > 1}):
        line = [point for point in points if point.beam == beam]
        yield f"up to {beam} paths", sorted(line, key=lambda point: point.gmacs or 0)
