"""What became of the parts of a request, as a table on a terminal and as lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.launch.progress import Progress

if TYPE_CHECKING:
    from rich.table import Table

StateName = Literal["running", "failed", "refused", "lost", "queued", "to do", "done"]
BAD: tuple[StateName, ...] = ("failed", "refused", "lost")
ACTIVE: tuple[StateName, ...] = ("running", "queued")
# The order of the rows, where a terminal has too few lines.
_ORDER: tuple[StateName, ...] = ("running", *BAD, "queued", "to do", "done")


@dataclass(frozen=True, kw_only=True)
class State:
    """What became of one part.

    Attributes:
        name: running; failed (its record says so); refused (by the worker; nothing is written);
            lost (its job is gone and left no record); queued; to do (not submitted); done.
        detail: Why it waits, failed or was refused.
        progress: How far its training is, while it runs.
    """

    title: str
    name: StateName
    node: str = ""
    detail: str = ""
    progress: Progress | None = None
    log: Path | None = None

    def __str__(self) -> str:
        told = [self.title, f"{self.name} on {self.node}" if self.node else self.name]
        if self.progress is not None:
            done = self.progress
            told.append(f"epoch {done.epoch}/{done.epochs}, loss {done.loss:.4f}")
        told.append(self.detail)
        if self.name in BAD and self.log is not None:
            told.append(f"log {self.log}")
        return ": ".join(filter(None, told))


def summarize(states: Iterable[State]) -> str:
    """Return how many parts are in which state."""
    counts = Counter(state.name for state in states)
    return ", ".join(f"{counts[name]} {name}" for name in reversed(_ORDER) if counts[name])


def print_states(states: Sequence[State]) -> None:
    """Print states on standard output: a table on a terminal, else a line each."""
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(_make_table(states))
    else:
        print(*states, summarize(states), sep="\n")


def _make_table(states: Sequence[State], rows: int | None = None) -> Table:
    """Return a table of states; with `rows`, of those that matter most."""
    from rich.markup import escape
    from rich.table import Table

    columns = ("cell", "state", "node", "epoch", "loss", "time left", "log")
    table = Table(*columns, box=None, caption=summarize(states), caption_justify="left")
    shown = sorted(states, key=lambda state: _ORDER.index(state.name)) if rows else states
    for state in shown[:rows]:
        told, done = ("", "", ""), state.progress
        if done is not None:
            left = timedelta(seconds=round(max(0, done.epochs - done.epoch) * done.seconds))
            told = (f"{done.epoch}/{done.epochs}", f"{done.loss:.4f}", str(left))
        name = f"{state.name}: {escape(state.detail)}" if state.detail else state.name
        table.add_row(state.title, name, state.node, *told, state.log.name if state.log else "")
    return table


def follow(read: Callable[[], list[State]], seconds: float) -> list[State]:
    """Show states on standard error until none is queued or running; return the last ones."""
    from rich.console import Console
    from rich.live import Live

    console, told = Console(stderr=True), set[str]()
    live = Live(console=console, auto_refresh=False) if sys.stderr.isatty() else None
    with live or contextlib.nullcontext():
        while True:
            states = read()
            lines = [str(state) for state in states]
            if live is not None:
                live.update(_make_table(states, max(1, console.height - 4)), refresh=True)
            else:
                # What has not changed is not said again.
                sys.stderr.writelines(f"{line}\n" for line in lines if line not in told)
            told = set(lines)
            if not any(state.name in ACTIVE for state in states):
                return states
            time.sleep(seconds)
