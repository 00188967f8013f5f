"""Comparison of trees that were grown with different volatilities: a CSV file and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.report.canvas import FAINT, INK, MARK, new_figure
from harness.report.table import write_csv
from harness.util.files import write_text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Row:
    """One tree, judged on held-out or test images, with its 95% Wilson interval.

    Attributes:
        gmacs_mean: 10^9 multiply-accumulates of the mean image.
        gmacs_shortest: Those of the cheapest path; `gmacs_longest` is for the dearest.
        depth: The largest number of networks on a path.
        root_groups: The number of children of the root.
    """

    dataset: str
    volatility: float
    images: str
    n_images: int
    accuracy_top1: float
    accuracy_top1_low: float
    accuracy_top1_high: float
    gmacs_mean: float
    gmacs_shortest: float
    gmacs_longest: float
    nodes: int
    depth: int
    root_groups: int
    params: int


def write_rows(rows: Sequence[DataclassInstance], path: Path) -> Path:
    """Write the rows as CSV, atomically; return the path. CellError where it cannot be written."""
    rounded = [
        {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in asdict(row).items()}
        for row in rows
    ]
    write_text(path, write_csv(rounded))
    return path


def plot_ablation(rows: Sequence[Row]) -> Figure:
    """Draw accuracy, path cost and shape against volatility.

    There must be a row at least, and all must be of one data set and judged on the same images.
    """
    figure = new_figure(6.4, 6.2)
    upper, middle, lower = figure.subplots(3, 1, sharex=True)
    values = [row.volatility for row in rows]
    accuracies = [row.accuracy_top1 for row in rows]
    below = [row.accuracy_top1 - row.accuracy_top1_low for row in rows]
    above = [row.accuracy_top1_high - row.accuracy_top1 for row in rows]
    upper.errorbar(values, accuracies, (below, above), color=INK, marker="o", capsize=3)
    title = f"TRUNK, {rows[0].dataset}: trees of {len(rows)} volatilities, "
    upper.set_title(title + f"{rows[0].n_images:,} {rows[0].images} images", loc="left", fontsize=9)
    upper.set_ylabel("top-1 %, 95% interval")
    middle.plot(values, [row.gmacs_mean for row in rows], color=INK, marker="o", label="mean image")
    shortest, longest = [r.gmacs_shortest for r in rows], [r.gmacs_longest for r in rows]
    middle.fill_between(values, shortest, longest, color=FAINT, alpha=0.2, label="all paths")
    middle.set(ylabel="GMACs of a path", ylim=(0, None))
    middle.legend()
    lower.plot(values, [row.nodes for row in rows], color=INK, marker="o", label="nodes")
    lower.plot(values, [row.depth for row in rows], color=MARK, marker="s", label="depth")
    lower.set(xlabel="grouping volatility v", ylabel="shape")
    lower.yaxis.get_major_locator().set_params(integer=True)
    lower.legend()
    return figure
