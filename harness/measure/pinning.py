"""Pinning of all threads to fixed CPU cores while something is timed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

_THREADS_OF_THIS_PROCESS = Path("/proc/self/task")
_SECONDS_TO_LOOK = 0.3


def usable_cpus() -> list[int]:
    """Return the hardware threads that this process may use; empty if the system has no such list.

    Linux has one, macOS and Windows do not.
    """
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


@contextmanager
def pinned(threads: int) -> Iterator[tuple[int, ...] | None]:
    """Pin this process to as many hardware threads as run at once, and yield them; undo it after.

    The idlest are chosen, and hardware threads of different cores before two of the same. None is
    yielded if the system cannot pin threads or has too few.
    """
    usable = usable_cpus()
    if len(usable) < threads:
        yield None
        return
    chosen = tuple(sorted(_choose(usable, threads)))
    _keep_on(chosen)
    try:
        yield chosen
    finally:
        _keep_on(usable)


def _choose(usable: list[int], count: int) -> list[int]:
    if len(usable) == count:
        return usable
    busy = psutil.cpu_percent(interval=_SECONDS_TO_LOOK, percpu=True)
    idlest = sorted(usable, key=lambda cpu: busy[cpu] if cpu < len(busy) else 0.0)
    taken: dict[str, int] = {}
    rank = {}
    for cpu in idlest:
        core = _siblings(cpu)
        rank[cpu] = taken[core] = taken.get(core, 0) + 1
    return sorted(idlest, key=lambda cpu: rank[cpu])[:count]


def _siblings(cpu: int) -> str:
    """Return all hardware threads of this one's core, as Linux lists them."""
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return str(cpu)


def _keep_on(cpus: tuple[int, ...] | list[int]) -> None:
    # OpenMP's workers live on from earlier calls, so pinning the caller alone is not enough.
    for thread in _THREADS_OF_THIS_PROCESS.iterdir():
        try:
            os.sched_setaffinity(int(thread.name), cpus)
        except ProcessLookupError:
            continue
