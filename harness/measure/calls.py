"""Calls of a network in a row, for as long as a counter or a clock needs."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import torch
from torch import Tensor

from harness.measure.networks import Network, own_inputs


def call_once(network: Network, batch: Tensor) -> Network:
    """Call a network once, wait until a GPU has done its work, and return it as `own_inputs`."""
    found = own_inputs(network, batch)
    _synchronize(batch)
    return found


def call_for(
    network: Callable[[Tensor], object], batch: Tensor, seconds: float
) -> tuple[int, float]:
    """Call a network in a row, at least once, until some seconds have passed.

    Return the number of images of all calls, and the seconds until the last call was done.
    """
    start = perf_counter()
    calls = 0
    while calls == 0 or perf_counter() - start < seconds:
        network(batch)
        calls += 1
    _synchronize(batch)  # calls on a GPU return before they are done
    return calls * len(batch), perf_counter() - start


def best_seconds(work: Callable[[], Tensor], repeats: int) -> float:
    """Return the seconds of the fastest of several calls, after an untimed one."""
    _synchronize(work())
    times = []
    for _ in range(repeats):
        start = perf_counter()
        _synchronize(work())
        times.append(perf_counter() - start)
    return min(times)


def _synchronize(batch: Tensor) -> None:
    if batch.is_cuda:
        torch.cuda.synchronize(batch.device)
