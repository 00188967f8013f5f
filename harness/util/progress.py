"""Show progress bars, on terminals only."""

from __future__ import annotations

import contextlib
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
