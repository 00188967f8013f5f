"""Pictures: the roofline with every operator on it, and size against operations."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.profiling.analysis import Analysis
from harness.profiling.labels import place_labels
from harness.profiling.metrics import COMPUTE_BOUND_ABOVE, MEMORY_BOUND_BELOW
from harness.profiling.report import Report, describe_pass
from harness.profiling.roofline import Roof
from harness.util.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# More models than this leave no room for their names: beside points, and at all.
_MOST_NAMES, _MOST_ROWS = 15, 40
_TOP, _ROW = 4.6, 0.32  # inches
_SMALLEST_AREA, _WHOLE_AREA = 4.0, 1200.0
_INK, _FAINT = "#1a202c", "#718096"


def draw(report: Report, roof: Roof, path: Path) -> None:
    """Write the picture of a report as PNG or SVG, by the file's ending.

    Raises:
        CellError: The file cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(render_picture(report, roof, path.suffix[1:].lower()))


def render_picture(report: Report, roof: Roof, kind: str) -> bytes:
    """Return the picture as PNG or SVG; the same report gives the same bytes."""
    import matplotlib as mpl

    out = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {}
    # Without a salt, the names of a picture's parts are random.
    with mpl.rc_context({"svg.hashsalt": "static"}):
        plot_report(report, roof).savefig(out, format=kind, metadata=metadata)
    return out.getvalue()


def plot_report(report: Report, roof: Roof) -> Figure:
    """Plot the roofline and the models by size, above a row of operators for each model."""
    from matplotlib.figure import Figure

    shown = report.analyses[:_MOST_ROWS]
    names = [str(analysis.name) for analysis in shown]
    numbers = [str(number) for number, _ in enumerate(names, start=1)]
    crowded = len(names) > _MOST_NAMES
    rows = 0.8 + _ROW * len(shown)
    figure = Figure(figsize=(13.0, _TOP + rows), layout="constrained", dpi=110)
    grid = figure.add_gridspec(2, 2, height_ratios=(_TOP, rows))
    _plot_roof(figure.add_subplot(grid[0, 0]), shown, roof)
    sizes = figure.add_subplot(grid[0, 1])
    _plot_sizes(sizes, shown)
    numbered = [f"{name}  {number}" for name, number in zip(names, numbers, strict=True)]
    _plot_rows(figure.add_subplot(grid[1, :]), shown, numbered if crowded else names, roof)
    figure.suptitle(_title(report, len(shown)), fontsize=10)
    # The places of labels are known once all else has its own.
    figure.draw_without_rendering()
    _label_sizes(sizes, shown, numbers if crowded else names)
    return figure


def _title(report: Report, shown: int) -> str:
    left_out = len(report.analyses) - shown
    more = f"; the last {left_out} models are left out" if left_out else ""
    return f"{report.options.accounting} accounting, {describe_pass(report.options)}{more}"


def _plot_roof(axes: Axes, analyses: Sequence[Analysis], roof: Roof) -> None:
    """Draw what can be reached at each intensity, and on it what each operator can."""
    ridge = roof.ridge_flops_per_byte
    intensities = [each.intensity for a in analyses for each in a.graph.operators if each.intensity]
    corners = (min([*intensities, ridge]) / 2, ridge, max([*intensities, ridge]) * 2)
    heights = [roof.attainable_gflops_per_s(corner) for corner in corners]
    axes.plot(corners, heights, color=_INK, linewidth=1.2)
    for index, analysis in enumerate(analyses):
        points = [each.intensity for each in analysis.graph.operators if each.intensity]
        reached = [roof.attainable_gflops_per_s(point) for point in points]
        axes.scatter(points, reached, s=28, color=_colour(index), alpha=0.4, linewidths=0)
    axes.axvline(ridge, color=_FAINT, linewidth=0.8, linestyle=":")
    axes.set(xlabel="FLOPs/byte of an operator (log)", ylabel="GFLOP/s that it can reach (log)")
    title = f"roofline of {roof.name}, {roof.precision}; ridge at {ridge:.3g} FLOPs/byte"
    axes.set_title(title, fontsize=10)
    _plain_logarithms(axes, "xy")


def _plot_rows(axes: Axes, analyses: Sequence[Analysis], names: Sequence[str], roof: Roof) -> None:
    """Draw each model's operators in a row, those of one intensity together."""
    for index, analysis in enumerate(analyses):
        shares = _time_shares(analysis, roof)
        axes.scatter(
            list(shares),
            [index] * len(shares),
            s=[_SMALLEST_AREA + _WHOLE_AREA * share for share in shares.values()],
            color=_colour(index),
            alpha=0.5,
            linewidths=0,
        )
        mean = analysis.metrics.intensity_flops_per_byte
        axes.plot([mean], [index], marker="D", color="white", markeredgecolor=_INK, markersize=6)
    for limit, text, align in (
        (MEMORY_BOUND_BELOW, "memory-bound ", "right"),
        (COMPUTE_BOUND_ABOVE, " compute-bound", "left"),
    ):
        axes.axvline(limit, color=_FAINT, linewidth=0.8, linestyle=":")
        axes.text(limit, -0.75, text, ha=align, va="center", fontsize=8, color=_FAINT)
    axes.set_yticks(range(len(names)), names, fontsize=9, parse_math=False)
    axes.set(
        ylim=(len(names) - 0.4, -1.1),
        xlabel="FLOPs/byte (log): circles are the operators of one intensity, their area the share "
        "of the least time; diamonds are whole models",
    )
    _plain_logarithms(axes, "x")


def _time_shares(analysis: Analysis, roof: Roof) -> dict[float, float]:
    """Return the share of the least time by intensity, of operators that have any."""
    total = sum(roof.bound_ms(each) for each in analysis.graph.operators) or 1.0
    shares: dict[float, float] = {}
    for operator in analysis.graph.operators:
        if operator.intensity:
            rounded = float(f"{operator.intensity:.2g}")
            shares[rounded] = shares.get(rounded, 0.0) + roof.bound_ms(operator) / total
    return shares


def _plot_sizes(axes: Axes, analyses: Sequence[Analysis]) -> None:
    """Draw each model at its parameters and GMACs, coloured by its intensity."""
    from matplotlib.colors import LogNorm

    axes.set(xlabel="parameters, M (log)", ylabel="GMACs (log)")
    axes.set_title("size, operations and intensity", fontsize=10)
    known = [each for each in analyses if _place(each)]
    figure = axes.get_figure(root=True)
    if not known or figure is None:
        return
    axes.margins(0.15)
    points = axes.scatter(
        [each.metrics.params / 1e6 for each in known],
        [each.metrics.gmacs for each in known],
        c=[each.metrics.intensity_flops_per_byte for each in known],
        norm=LogNorm(),
        cmap="viridis",
        s=60,
        edgecolors="white",
        zorder=3,
    )
    _plain_logarithms(axes, "xy")
    bar = figure.colorbar(points, ax=axes, label="FLOPs/byte of the model")
    bar.ax.yaxis.set_major_formatter("{x:g}")
    bar.ax.yaxis.set_minor_formatter("{x:g}")
    bar.ax.tick_params(which="both", labelsize=8)


def _label_sizes(axes: Axes, analyses: Sequence[Analysis], labels: Sequence[str]) -> None:
    pairs = [(_place(each), label) for each, label in zip(analyses, labels, strict=True)]
    known = [(place, label) for place, label in pairs if place is not None]
    place_labels(axes, [place for place, _ in known], [label for _, label in known])


def _place(analysis: Analysis) -> tuple[float, float] | None:
    """Return where a model is among the sizes; None where a logarithm would be of 0."""
    metrics = analysis.metrics
    return (metrics.params / 1e6, metrics.gmacs) if metrics.params and metrics.gmacs else None


def _plain_logarithms(axes: Axes, which: str) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    for each in which:
        getattr(axes, f"set_{each}scale")("log")
    for axis in [{"x": axes.xaxis, "y": axes.yaxis}[each] for each in which]:
        low, high = axis.get_view_interval()
        # One or two decades alone have few numbers otherwise.
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
        axis.set_major_formatter("{x:.7g}")
        axis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)


def _colour(index: int) -> str:
    return f"C{index % 10}"
