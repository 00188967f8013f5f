"""Progress: bars on a terminal, and lines of the log where there is none."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Literal

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

# Its lines are shown wherever bars are not.
PROGRESS = logging.getLogger("harness.progress")


def describe_seconds(seconds: float) -> str:
    """Return a time with one or two digits, as it is a rough estimate."""
    if seconds == 0:
        return "none"
    if seconds < 90:
        return f"about {round(seconds, -1 if seconds >= 10 else 0):.0f} s"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.0f} h"


Report = Callable[[int, str], None]
"""Takes how many images or bytes are done so far, and what to say beside the bar."""


@contextlib.contextmanager
def bar(
    title: str, total: int | None, unit: Literal["images", "bytes"] = "images"
) -> Iterator[Report]:
    """Show a bar over `total` units on standard error while the block runs.

    Shows nothing when standard error is not a terminal.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn() if unit == "images" else DownloadColumn(),
        TextColumn("{task.fields[text]}") if unit == "images" else TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(title, total=total, text="")

        def report(done: int, text: str) -> None:
            progress.update(task, completed=done, text=text)

        yield report
