"""Trees grown with different settings, side by side: a table and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.report.canvas import FAINT, INK, MARK, new_figure
from harness.report.table import write_csv
from harness.util.files import write_text
from trunk.tree import Tree

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Row:
    """One tree.

    Attributes:
        dataset: The data set's name.
        volatility: What it was grown with.
        images: Which images it was judged on: held out, or test.
        n_images: How many.
        accuracy_top1: Percent of them that are routed to their class.
        accuracy_top1_low: Lower end of the 95% Wilson interval.
        accuracy_top1_high: Upper end.
        gmacs_mean: 10^9 multiply-accumulates of the mean image.
        gmacs_shortest: Those of the cheapest path.
        gmacs_longest: Those of the dearest.
        nodes: Nodes with a network.
        depth: Most networks on a path.
        root_groups: Children of the root.
        params: Parameters of all nodes.
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


def describe_shape(tree: Tree) -> dict[str, int]:
    """Return the fields of a row that say what shape a tree has."""
    return {
        "nodes": len(tree.nodes),
        "depth": max(len(node.path) + 1 for node in tree.nodes),
        "root_groups": len(tree.root.groups),
    }


def write_rows(rows: Sequence[Row], path: Path) -> Path:
    """Write the rows as CSV, atomically; return the path.

    Raises:
        CellError: The disk is full or the folder cannot be written to.
    """
    write_text(path, write_csv({k: _round(v) for k, v in asdict(row).items()} for row in rows))
    return path


def plot_ablation(rows: Sequence[Row]) -> Figure:
    """Draw accuracy, path cost and shape against volatility.

    Args:
        rows: At least one, of one data set, judged on the same images.
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


def _round(value: object) -> object:
    return float(f"{value:.6g}") if isinstance(value, float) else value
