"""Tables on the terminal."""

from __future__ import annotations

from harness.report.table import Table

# Wide enough for a whole row where the output is a file or a pipe.
_PIPE_WIDTH = 200


def print_table(table: Table, *, lines: bool = True) -> None:
    """Print a table, broken to the width of the terminal, with or without lines around cells."""
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
