"""Conditions that costs are measured under: number of threads, fixed cores, a locked device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from harness.measure.load import Load, LoadWatch
from harness.measure.lock import device_lock
from harness.measure.pinning import pinned, usable_cpus


def default_threads() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(usable_cpus()) or os.cpu_count() or 1


def set_threads(threads: int | None) -> int:
    """Set torch's number of CPU threads, by default one per usable core, and return it."""
    threads = threads or default_threads()
    torch.set_num_threads(threads)
    return threads


@contextmanager
def fp32_precision(mode: str) -> Iterator[None]:
    """Set how a GPU computes the products of fp32 numbers, and restore it afterwards.

    Args:
        mode: ieee (24-bit mantissas), tf32 (11 bits: faster on tensor cores), or torch (its
            defaults: tf32 in convolutions, ieee in matrix products).
    """
    before = fp32_modes()
    try:
        _set_fp32_modes(*(("tf32", "ieee") if mode == "torch" else (mode, mode)))
        yield
    finally:
        _set_fp32_modes(*before)


def fp32_modes() -> tuple[str, str]:
    """Return how a GPU computes fp32 convolutions and fp32 matrix products: ieee or tf32."""
    cudnn: Any = torch.backends.cudnn
    return cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision


def _set_fp32_modes(convolutions: str, products: str) -> None:
    cudnn: Any = torch.backends.cudnn
    cudnn.conv.fp32_precision = convolutions
    torch.backends.cuda.matmul.fp32_precision = products


class Conditions:
    """The conditions of a block of measurements, known once the block has ended.

    Attributes:
        cores: The hardware threads that the process was pinned to; None if it was not pinned.
        load: The load by other processes.
        busy: Why the machine counts as busy; None if it does not.
    """

    cores: list[int] | None
    load: Load
    busy: str | None


@contextmanager
def undisturbed(device: str, purpose: str) -> Iterator[Conditions]:
    """Lock a device, pin the threads and watch the load during a block of measurements.

    Args:
        device: "cpu" or "cuda".
        purpose: Shown to other processes that wait for the device.
    """
    with device_lock(device, purpose), watched() as conditions:
        yield conditions


@contextmanager
def watched() -> Iterator[Conditions]:
    """Do as `undisturbed`, but without the lock, which a caller holds already."""
    conditions = Conditions()
    with pinned(torch.get_num_threads()) as cores:
        watch = LoadWatch()
        yield conditions
        conditions.load = load = watch.read()
    conditions.cores = None if cores is None else list(cores)
    conditions.busy = load.describe() if load.busy else None
