"""Conditions that costs are measured under: number of threads, fixed cores, a locked device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

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
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, products.allow_tf32
    # Not `fp32_precision`: parts of torch still read these, and fail after a mix of the two.
    cudnn.allow_tf32, products.allow_tf32 = mode != "ieee", mode == "tf32"
    try:
        yield
    finally:
        cudnn.allow_tf32, products.allow_tf32 = before


def fp32_modes() -> tuple[str, str]:
    """Return how a GPU computes fp32 convolutions and fp32 matrix products: ieee or tf32."""
    allowed = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    convolutions, products = ("tf32" if tf32 else "ieee" for tf32 in allowed)
    return convolutions, products


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

    The purpose is shown to other processes that wait for the device.
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
