"""Costs that were counted, as CSV and on the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from harness.records.cost import CostPath, CostRecord

_PIPE_WIDTH = 120
_SHARED = ("dataset", "model", "label", "image_size", "channels", "weights_origin")
_FIGURES = (
    *("classes", "params", "weights_mb", "file_mb", "peak_memory_mb"),
    *("gmacs", "gflops", "gmacs_thop", "gmacs_unpadded"),
)
_SHOWN = {
    "params M": ("params", 1e-6),
    "weights MB": ("weights_mb", 1),
    "file MB": ("file_mb", 1),
    "peak MB": ("peak_memory_mb", 1),
    "GMACs": ("gmacs", 1),
    "thop GMACs": ("gmacs_thop", 1),
}


COST_HEADER = tuple(_SHOWN)
"""The names of what `cost_cells` returns."""


def render_costs_csv(records: Sequence[CostRecord]) -> str:
    """Return the costs of one data set: a line for each model, and for each path of a tree."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*_SHARED, "path", *_FIGURES, "git_commit", "command"])
    for record in records:
        shared = [getattr(record, name) for name in _SHARED]
        for name, part in (("", record), *((path.name, path) for path in record.paths)):
            figures = [getattr(part, figure, None) for figure in _FIGURES]
            writer.writerow(
                [*shared, name, *figures, record.provenance.git_commit, record.provenance.command]
            )
    return out.getvalue()


def print_costs(records: Sequence[CostRecord]) -> None:
    """Print the costs of all models as one table."""
    table = Table(title="counted: no images, no weights", title_justify="left")
    for name in ("data set", "model", "px"):
        table.add_column(name)
    for name in _SHOWN:
        table.add_column(name, justify="right")
    for record in records:
        where = (record.dataset, record.label, str(record.image_size))
        table.add_row(*where, *cost_cells(record))
        for path in dict.fromkeys((*record.paths[:1], *record.paths[-1:])):
            table.add_row("", f"  path to {path.name}", "", *cost_cells(path))
    console = Console(markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    console.print(table)


def cost_cells(part: CostRecord | CostPath) -> list[str]:
    """Return what was counted, as texts; what was not is a dash."""
    cells = []
    for name, scale in _SHOWN.values():
        value = getattr(part, name, None)
        cells.append("–" if value is None else f"{value * scale:.4g}")
    return cells
