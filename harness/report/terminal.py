"""The table at the end of a run, on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table

from harness.records.cell import Record
from harness.records.comparability import describe_fairness
from harness.report.tables import render_rows

# Wide enough for a whole row where the output is a file or a pipe.
_PIPE_WIDTH = 200


def print_records(records: Sequence[Record]) -> None:
    """Print a table for each data set: the records beside the published cells."""
    # Brackets and colons in a reason are no markup.
    console = Console(markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    for dataset, group in groupby(records, key=lambda record: record.cell.dataset):
        members = list(group)
        header, rows = render_rows(members)
        table = Table(title=f"{dataset}: measured beside published", title_justify="left")
        for name in header:
            table.add_column(name, justify="left" if name in ("Model", "Notes") else "right")
        for row in rows:
            table.add_row(*row)
        console.print(table)
        fairness = describe_fairness(members)
        if fairness is not None:
            console.print(f"fair: {fairness}")
