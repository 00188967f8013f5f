"""The figure of a comparison: the roofline with every operator, and size against operations."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from harness.profiling.analysis import Analysis
from harness.profiling.hardware import Roof
from harness.profiling.metrics import COMPUTE_BOUND_ABOVE, MEMORY_BOUND_BELOW
from harness.profiling.report import Report, describe_pass
from harness.profiling.request import usual_roof
from harness.report.canvas import FAINT, INK, PAPER, new_figure
from harness.report.labels import Label, place_labels, set_logarithmic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Beyond so many models there is no room for names beside points, or for a row each.
_MOST_NAMES, _MOST_ROWS = 15, 40
_TOP, _ROW = 4.6, 0.32  # inches
_SMALLEST_AREA, _WHOLE_AREA = 4.0, 1200.0


def plot_report(report: Report) -> Figure:
    """Plot the roofline and the models by size, above a row of operators for each model."""
    shown, roof = report.analyses[:_MOST_ROWS], usual_roof(report.options)
    labels = names = [str(analysis.name) for analysis in shown]
    if len(names) > _MOST_NAMES:
        labels = [str(number) for number in range(1, len(names) + 1)]
        names = [f"{name}  {number}" for name, number in zip(names, labels, strict=True)]
    rows = 0.8 + _ROW * len(shown)
    figure = new_figure(13.0, _TOP + rows)
    left_out = len(report.analyses) - len(shown)
    more = f"; the last {left_out} models are left out" if left_out else ""
    counting = f"{report.options.accounting} accounting, {describe_pass(report.options)}"
    figure.suptitle(counting + more, fontsize=10)
    grid = figure.add_gridspec(2, 2, height_ratios=(_TOP, rows))
    _plot_roof(figure.add_subplot(grid[0, 0]), shown, names, roof)
    _plot_rows(figure.add_subplot(grid[1, :]), shown, names, roof)
    _plot_sizes(figure.add_subplot(grid[0, 1]), shown, labels)
    return figure


def _colour(index: int, count: int) -> Any:
    """Return the colour of a model, another one for each."""
    from matplotlib import colormaps

    return f"C{index}" if count <= 10 else colormaps["turbo"]((index + 0.5) / count)


def _plot_roof(axes: Axes, analyses: Sequence[Analysis], names: Sequence[str], roof: Roof) -> None:
    """Draw the attainable performance at each intensity, with every operator on it."""
    ridge, reach = roof.ridge_flops_per_byte, roof.attainable_gflops_per_s
    points = [[each.intensity for each in a.graph.operators if each.intensity] for a in analyses]
    every = [ridge, *chain(*points)]
    corners = (min(every) / 2, ridge, max(every) * 2)
    axes.plot(corners, [*map(reach, corners)], color=INK, linewidth=1.2)
    for index, (xs, name) in enumerate(zip(points, names, strict=True)):
        colour, ys = _colour(index, len(analyses)), [*map(reach, xs)]
        axes.scatter(xs, ys, s=28, color=colour, alpha=0.4, linewidths=0, label=name)
    axes.axvline(ridge, color=FAINT, linewidth=0.8, linestyle=":")
    axes.set(xlabel="FLOPs/byte of an operator (log)", ylabel="GFLOP/s that it can reach (log)")
    title = f"roofline of {roof.name}, {roof.precision}; ridge at {ridge:.3g} FLOPs/byte"
    axes.set_title(title, fontsize=10)
    set_logarithmic(axes, "xy")
    if len(analyses) <= _MOST_NAMES:
        axes.legend(loc="lower right", fontsize=8)
    else:
        said = "colours are those of the rows below"
        axes.text(0.98, 0.03, said, transform=axes.transAxes, ha="right", fontsize=8, color=FAINT)


def _plot_rows(axes: Axes, analyses: Sequence[Analysis], names: Sequence[str], roof: Roof) -> None:
    """Draw the operators of each model in a row, those of the same intensity as one circle."""
    for index, analysis in enumerate(analyses):
        shares = _time_shares(analysis, roof)
        axes.scatter(
            list(shares),
            [index] * len(shares),
            s=[_SMALLEST_AREA + _WHOLE_AREA * share for share in shares.values()],
            color=_colour(index, len(analyses)),
            alpha=0.5,
            linewidths=0,
        )
        mean = analysis.metrics.intensity_flops_per_byte
        axes.plot([mean], [index], marker="D", color=PAPER, markeredgecolor=INK, markersize=6)
    for limit, text, align in (
        (MEMORY_BOUND_BELOW, "memory-bound ", "right"),
        (COMPUTE_BOUND_ABOVE, " compute-bound", "left"),
    ):
        axes.axvline(limit, color=FAINT, linewidth=0.8, linestyle=":")
        axes.text(limit, -0.75, text, ha=align, va="center", fontsize=8, color=FAINT)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set(
        ylim=(len(names) - 0.4, -1.1),
        xlabel="FLOPs/byte (log): circles are the operators of one intensity, their area the share "
        "of the least time; diamonds are whole models",
    )
    set_logarithmic(axes, "x")


def _time_shares(analysis: Analysis, roof: Roof) -> dict[float, float]:
    """Return the share of the least time by intensity, without operators of intensity 0."""
    total = sum(roof.bound_ms(each) for each in analysis.graph.operators) or 1.0
    shares: dict[float, float] = {}
    for operator in analysis.graph.operators:
        if operator.intensity:
            rounded = float(f"{operator.intensity:.2g}")
            shares[rounded] = shares.get(rounded, 0.0) + roof.bound_ms(operator) / total
    return shares


def _plot_sizes(axes: Axes, analyses: Sequence[Analysis], labels: Sequence[str]) -> None:
    """Draw models by parameters and GMACs, coloured by intensity; call it last, for its labels."""
    from matplotlib.colors import LogNorm

    axes.set(xlabel="parameters, M (log)", ylabel="GMACs (log)")
    axes.set_title("size, operations and intensity", fontsize=10)
    found = [
        (m.params / 1e6, m.gmacs, m.intensity_flops_per_byte, label)
        for m, label in zip((each.metrics for each in analyses), labels, strict=True)
        if m.params and m.gmacs
    ]
    if not found:
        return
    xs, ys, intensities, labels = zip(*found, strict=True)
    axes.margins(0.15)
    points = axes.scatter(xs, ys, s=60, c=intensities, norm=LogNorm(), cmap="viridis", zorder=3)
    points.set_edgecolor(PAPER)
    set_logarithmic(axes, "xy")
    bar = axes.figure.colorbar(points, ax=axes, label="FLOPs/byte of the model")
    bar.ax.yaxis.set_major_formatter("{x:g}")
    bar.ax.yaxis.set_minor_formatter("{x:g}")
    bar.ax.tick_params(which="both", labelsize=8)
    place_labels(axes, [Label(x=x, y=y, text=label, size=8) for x, y, _, label in found])
