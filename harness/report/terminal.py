"""Tables on the terminal, and in files and pipes that take its place."""

from __future__ import annotations

from harness.report.table import Table

# Wider than any row.
_ONE_LINE = 10_000


def print_table(table: Table, *, lines: bool = True) -> None:
    """Print a table, with or without lines around cells.

    It is broken to the width of the terminal. A terminal that is too narrow for its longest words
    gets a row below the other, each cell on a line of its own; a file or a pipe gets plain columns
    with each row on one line.
    """
    from rich.box import HEAVY_HEAD
    from rich.console import Console
    from rich.table import Table as RichTable

    # Brackets and colons in a reason are no markup.
    console = Console(markup=False, emoji=False, highlight=False)
    box = HEAVY_HEAD if lines and console.is_terminal else None
    shown = RichTable(title=table.title or None, title_justify="left", box=box)
    for column in table.columns:
        shown.add_column(column.name, justify="right" if column.right else "left")
    rows = [[each.join() for each in cells] for _, cells in table.rows()]
    for cells in rows:
        shown.add_row(*cells)
    width = console.measure(shown, options=console.options.update(width=_ONE_LINE))
    if not console.is_terminal:
        console.width = max(width.maximum, len(table.title))
        with console.capture() as capture:
            console.print(shown)
        print("\n".join(line.rstrip() for line in capture.get().splitlines()))
    elif width.minimum <= console.width:
        console.print(shown)
    else:
        console.print(table.title)
        for first, *others in rows:
            console.print(first)
            for column, cell in zip(table.columns[1:], others, strict=True):
                console.print(f"  {column.name}: {cell}")
