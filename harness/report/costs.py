"""Counted costs, as CSV and on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.records.cost import CostPath, CostRecord
from harness.report.table import Column, Table, write_csv
from harness.report.terminal import print_table

_SHARED = ("dataset", "model", "variant", "label", "image_size", "channels", "weights_origin")
_FIGURES = (
    *("classes", "params", "weights_mb", "file_mb", "peak_memory_mb"),
    *("gmacs", "gflops", "gmacs_thop", "gmacs_unpadded"),
)
# The columns show a network or a path of a tree.
COLUMNS: tuple[Column[Any], ...] = (
    Column(name="params M", get="params", digits=4, form="g", scale=1e-6),
    Column(name="weights MB", get="weights_mb", digits=4, form="g"),
    Column(name="file MB", get="file_mb", digits=4, form="g"),
    Column(name="peak MB", get="peak_memory_mb", digits=4, form="g"),
    Column(name="GMACs", get="gmacs", digits=4, form="g"),
    Column(name="thop GMACs", get="gmacs_thop", digits=4, form="g"),
)


def render_costs_csv(records: Sequence[CostRecord]) -> str:
    """Return the costs of one data set: a line for each model, and for each path of a tree."""
    return write_csv(
        {
            **{name: getattr(record, name) for name in _SHARED},
            "path": path,
            **{name: getattr(part, name, None) for name in _FIGURES},
            "git_commit": record.provenance.git_commit,
            "command": record.provenance.command,
        }
        for record in records
        for path, part in (("", record), *((path.name, path) for path in record.paths))
    )


def print_costs(records: Sequence[CostRecord]) -> None:
    """Print the costs of all models as one table; of a tree also its first and last path."""
    rows: list[list[str]] = []
    for record in records:
        rows.append([record.dataset, record.label, str(record.image_size), *_show(record)])
        ends = dict.fromkeys((*record.paths[:1], *record.paths[-1:]))
        rows += [["", f"  path to {path.name}", "", *_show(path)] for path in ends]
    header = ("data set", "model", "px", *(column.name for column in COLUMNS))
    print_table(Table.of_texts(header, rows, align="lllr", title="counted: no images, no weights"))


def _show(part: CostRecord | CostPath) -> list[str]:
    return [column.show(part) for column in COLUMNS]
