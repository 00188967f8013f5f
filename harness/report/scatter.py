"""The figure of accuracy against a cost, and of size: cells, and the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.report.canvas import FAINT, PAPER, SERIES, new_figure
from harness.report.labels import Label, place_labels, set_logarithmic, shorten
from harness.report.points import Cost, Point, PublishedPoint, group_points, pareto_front

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# More points than this leave no room for their names.
_MOST_NAMED = 40
# Of both names in the title, on one line.
_MOST_LETTERS = 40
# The square of the diameter of the largest model, in square points.
_LARGEST = 2000


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """The content of such a figure; `images` names the test images of the measured cells."""

    dataset: str
    images: str
    cost: Cost
    points: Sequence[Point]
    published: Sequence[PublishedPoint]


def plot_scatter(scatter: Scatter) -> Figure:
    """Plot top-1 accuracy with its 95% interval against a cost, on a logarithmic axis.

    Published cells are hollow; a step line joins the measured ones that no other beats. Where the
    cost is `sized`, the area around a measured cell shows the size of its weights.
    """
    figure = new_figure(7.6, 4.6)
    axes = figure.add_subplot()
    groups = group_points(scatter.points)
    for index, (group, points) in enumerate(groups.items()):
        name = f"measured ({group})" if group else "measured"
        _plot_measured(axes, points, SERIES[index % len(SERIES)], name)
    _plot_published(axes, scatter)
    _plot_sizes(axes, groups)
    _set_axes(axes, scatter)
    for index, points in enumerate(groups.values()):
        _plot_front(axes, points, SERIES[index % len(SERIES)])
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2 if scatter.cost.sized else 3
    )
    labels = _labels(scatter)
    if len(labels) <= _MOST_NAMED:
        place_labels(axes, labels)
    return figure


def _plot_measured(axes: Axes, points: Sequence[Point], colour: str, name: str) -> None:
    costs, accuracies = [p.cost for p in points], [p.accuracy for p in points]
    spread = [[p.accuracy - p.low for p in points], [p.high - p.accuracy for p in points]]
    axes.errorbar(
        costs, accuracies, spread, fmt="o", color=colour, markersize=6, elinewidth=1, label=name
    )


def _plot_sizes(axes: Axes, groups: Mapping[str, Sequence[Point]]) -> None:
    largest = max((p.weights_mb or 0 for found in groups.values() for p in found), default=0)
    if not largest:
        return
    for index, points in enumerate(groups.values()):
        areas = [_LARGEST * (p.weights_mb or 0) / largest for p in points]
        costs, accuracies = [p.cost for p in points], [p.accuracy for p in points]
        colour = SERIES[index % len(SERIES)]
        axes.scatter(costs, accuracies, areas, color=colour, alpha=0.2, linewidths=0, zorder=0)
    label = f"area: weights (largest: {largest:.3g} MB)"
    axes.scatter([], [], 90, color=SERIES[0], alpha=0.2, linewidths=0, label=label)


def _plot_front(axes: Axes, points: Sequence[Point], colour: str) -> None:
    """Draw the steps of the front up to the end of the axis, whose limits must be final."""
    front, (left, right) = pareto_front(points), axes.get_xlim()
    costs = [*(p.cost for p in front), right]
    accuracies = [*(p.accuracy for p in front), front[-1].accuracy]
    (line,) = axes.plot(costs, accuracies, "--", color=colour, label="Pareto front")
    line.set(linewidth=1.1, zorder=1, drawstyle="steps-post")
    axes.set_xlim(left, right)


def _plot_published(axes: Axes, scatter: Scatter) -> None:
    how = scatter.cost.published_as
    name = f"published ({how})" if how else "published"
    for cell in scatter.published:
        axes.plot(
            [cell.low, cell.high],
            [cell.accuracy] * 2,
            marker="o",
            markersize=6,
            markerfacecolor=PAPER,
            color=FAINT,
            linewidth=1,
            label=name,
        )
        name = "_"  # once in the legend


def _set_axes(axes: Axes, scatter: Scatter) -> None:
    set_logarithmic(axes, "x")
    # Room for the names at both ends.
    axes.margins(x=0.12, y=0.16 if scatter.cost.sized else 0.1)
    axes.set_xlabel(f"{scatter.cost.label} (logarithmic)")
    axes.set_ylabel("top-1 accuracy, %, 95% interval")
    dataset, images = shorten(scatter.dataset), shorten(scatter.images)
    # Long names are not side by side.
    above = "\n" if len(dataset) + len(images) > _MOST_LETTERS else ""
    against = f"{scatter.cost.title} and size" if scatter.cost.sized else scatter.cost.title
    axes.set_title(f"{dataset}: accuracy against {against}{above}", loc="left")
    axes.set_title(f"test images: {images}", loc="right", fontsize=8)


def _labels(scatter: Scatter) -> list[Label]:
    measured = [Label(x=p.cost, y=p.accuracy, text=p.title) for p in scatter.points]
    return measured + [
        Label(x=cell.high, y=cell.accuracy, text=cell.label, colour=FAINT, size=7.5)
        for cell in scatter.published
    ]
