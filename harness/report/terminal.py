"""Tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from harness.records.cell import Record
from harness.records.comparability import describe_fairness
from harness.report.table import Column, Table
from harness.report.tables import render_rows

# Wide enough for a whole row where the output is a file or a pipe.
_PIPE_WIDTH = 200


def print_table(table: Table, *, lines: bool = True) -> None:
    """Print a table, broken to the width of the terminal.

    Args:
        table: The table.
        lines: Whether lines are drawn around its cells.
    """
    from rich.box import HEAVY_HEAD
    from rich.console import Console
    from rich.table import Table as RichTable

    # Brackets and colons in a reason are no markup.
    console = Console(markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    shown = RichTable(
        title=table.title or None, title_justify="left", box=HEAVY_HEAD if lines else None
    )
    for column in table.columns:
        shown.add_column(column.name, justify="right" if column.right else "left")
    for _, cells in table.rows():
        shown.add_row(*(each.join() for each in cells))
    console.print(shown)


def print_records(records: Sequence[Record]) -> None:
    """Print a table for each data set: the records beside the published cells."""
    for dataset, group in groupby(records, key=lambda record: record.dataset):
        members = list(group)
        header, rows = render_rows(members)
        columns = [
            Column[Any](
                name=name,
                get=itemgetter(place),
                align="left" if name in ("Model", "Notes") else "right",
            )
            for place, name in enumerate(header)
        ]
        print_table(Table.of(rows, columns, f"{dataset}: measured beside published"))
        fairness = describe_fairness(members)
        if fairness is not None:
            print(f"fair: {fairness}")
