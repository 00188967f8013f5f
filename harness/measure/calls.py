"""Calls of a network in a row, as long as a counter or a clock needs to see them."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import torch
from torch import Tensor


def call_once(network: Callable[[Tensor], object], batch: Tensor) -> None:
    """Call a network, and wait until a GPU has done its work."""
    network(batch)
    _synchronize(batch)


def call_for(
    network: Callable[[Tensor], object], batch: Tensor, seconds: float
) -> tuple[int, float]:
    """Call a network in a row, at least once, for some seconds.

    Args:
        network: Takes the batch.
        batch: N×C×H×W, on its device.
        seconds: No further call is begun after this time.

    Returns:
        The images of all calls, and the seconds until the last of them was done.
    """
    start = perf_counter()
    calls = 0
    while calls == 0 or perf_counter() - start < seconds:
        network(batch)
        calls += 1
    _synchronize(batch)  # calls on a GPU return before they are done
    return calls * len(batch), perf_counter() - start


def _synchronize(batch: Tensor) -> None:
    if batch.is_cuda:
        torch.cuda.synchronize(batch.device)
