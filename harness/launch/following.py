"""What became of the parts of a request, as a table on a terminal and as lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
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
        title: The name of the part.
        name: running; failed (its record says so); refused (by the worker; nothing is written);
            lost (its job is gone and left no record); queued; to do (not submitted); done.
        node: Where it runs.
        detail: Why it waits, failed or was refused.
        progress: How far its training is.
        log: The file that takes what it prints.
    """

    title: str
    name: StateName
    node: str = ""
    detail: str = ""
    progress: Progress | None = None
    log: Path | None = None

    def __str__(self) -> str:
        where = f" on {self.node}" if self.node else ""
        told = [f"{self.title}: {self.name}{where}"]
        if self.progress is not None and self.name == "running":
            epoch = f"epoch {self.progress.epoch}/{self.progress.epochs}"
            told.append(f"{epoch}, loss {self.progress.loss:.4f}")
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
        if done is not None and state.name == "running":
            told = (f"{done.epoch}/{done.epochs}", f"{done.loss:.4f}", _clock(done.left_seconds))
        name = f"{state.name}: {escape(state.detail)}" if state.detail else state.name
        log = state.log.name if state.log else ""
        table.add_row(state.title, name, state.node, *told, log)
    return table


def follow(read: Callable[[], list[State]], seconds: float) -> list[State]:
    """Show states on standard error until none is queued or running; return the last ones."""
    if sys.stderr.isatty():
        return _follow_in_table(read, seconds)
    told: dict[str, str] = {}
    while True:
        states = read()
        for state in states:
            line = str(state)
            if told.get(state.title) != line:
                told[state.title] = line
                print(line, file=sys.stderr)
        if not _is_active(states):
            return states
        time.sleep(seconds)


def _follow_in_table(read: Callable[[], list[State]], seconds: float) -> list[State]:
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            states = read()
            live.update(_make_table(states, max(1, console.height - 4)), refresh=True)
            if not _is_active(states):
                return states
            time.sleep(seconds)


def _is_active(states: Iterable[State]) -> bool:
    return any(state.name in ACTIVE for state in states)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
