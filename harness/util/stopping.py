"""Stop a process on a signal of its cluster, at a point from which its work can be continued."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGUSR2, *((signal.SIGTERM,) if "SLURM_JOB_ID" in os.environ else ()))
"""Slurm sends the first ahead of a time limit or a preemption, and SIGTERM when a job is ended."""

_asked = False
_deferred = False


def listen() -> None:
    """Stop this process on `SIGNALS` from now on, by a KeyboardInterrupt as Ctrl-C raises it."""
    for number in SIGNALS:
        signal.signal(number, _stop)


def asked() -> bool:
    """Return whether one of the signals has come."""
    return _asked


def describe_end(number: int) -> str:
    """Return what a signal has done to a process, as the end of a sentence."""
    hint = " (out of memory?)" if number == signal.SIGKILL else ""
    return f"was ended by {signal.Signals(number).name}{hint}"


@contextmanager
def deferred() -> Iterator[None]:
    """Let the block look at `asked` itself: the signals raise nothing before its end."""
    global _deferred  # noqa: PLW0603 - a signal handler sees nothing but globals
    before, _deferred = _deferred, True
    try:
        yield
    finally:
        _deferred = before
    if _asked and not _deferred:
        raise KeyboardInterrupt


def _stop(_number: int, _frame: FrameType | None) -> None:
    global _asked  # noqa: PLW0603
    _asked = True
    if not _deferred:
        raise KeyboardInterrupt
