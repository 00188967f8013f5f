"""Progress: bars on a terminal, and lines of the log where there is none."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Protocol

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


class Report(Protocol):
    """Takes the progress of a pass over images."""

    def __call__(self, images: int, text: str) -> None:
        """Note that `images` are done so far, and what to say beside the bar."""


@contextlib.contextmanager
def bar(title: str, total_images: int) -> Iterator[Report]:
    """Show a bar over `total_images` on standard error while the block runs.

    Shows nothing when standard error is not a terminal.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(title, total=total_images, text="")

        def report(images: int, text: str) -> None:
            progress.update(task, completed=images, text=text)

        yield report


@contextlib.contextmanager
def download_bar(title: str, total_bytes: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar as `bar` does, over the bytes of a file; yields what takes the number so far."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(title, total=total_bytes)
        yield lambda done: progress.update(task, completed=done)
