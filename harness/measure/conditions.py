"""The conditions that costs are measured under: threads, cores, and nobody else if it can be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from harness.measure.load import Load, watch_load
from harness.measure.lock import device_lock
from harness.measure.pinning import pinned


def default_threads() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_threads(threads: int | None) -> int:
    """Let torch use this many CPU threads, by default all; return how many."""
    threads = threads or default_threads()
    torch.set_num_threads(threads)
    return threads


class Conditions:
    """The conditions of a block of measurements; they are there when the block has ended.

    Attributes:
        cores: The hardware threads that it was pinned to; None where it was not pinned.
        load: What else the machine did.
        busy: Why the machine counts as busy; None where it does not.
    """

    cores: list[int] | None
    load: Load
    busy: str | None


@contextmanager
def undisturbed(device: str, purpose: str) -> Iterator[Conditions]:
    """Measure alone on a device, on fixed cores, watching what else the machine does.

    Args:
        device: "cpu" or "cuda".
        purpose: What others who want the device are told that they wait for.
    """
    with device_lock(device, purpose), watched() as conditions:
        yield conditions


@contextmanager
def watched() -> Iterator[Conditions]:
    """Measure as `undisturbed` does, where somebody holds the lock on the device already."""
    conditions = Conditions()
    with pinned(torch.get_num_threads()) as cores, watch_load() as watch:
        yield conditions
    conditions.cores = None if cores is None else list(cores)
    conditions.load = watch.load
    conditions.busy = watch.load.describe() if watch.load.busy else None
