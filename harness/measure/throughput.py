"""Throughput: images per second at the batch size where it stops growing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.errors import CellError, RequestError
from harness.measure.calls import call_for, call_once
from harness.measure.networks import inference

# A larger batch must be faster by this factor to be worth its memory.
_WORTHWHILE_GROWTH = 1.05
# A kernel may be slow at one size by chance; two sizes in a row are no coincidence.
_SIZES_IN_VAIN = 2
_GROWTH = 4


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """The highest rate of images, with the data on the device already, and its batch size."""

    images_per_s: float
    batch_size: int


def measure_throughput(
    network: Callable[[Tensor], object],
    example: Tensor,
    *,
    batch_sizes: Sequence[int],
    seconds: float,
) -> Throughput:
    """Measure growing batches until two sizes in a row gain less than 5% or memory is full.

    A rate is images over wall-clock time, after one untimed call. On a GPU, which such sizes may
    not fill, four times the last size is tried as long as it is worthwhile.

    Args:
        network: A module is in evaluation mode meanwhile.
        example: One image or more, N×C×H×W, on the network's device; repeated to fill the batches.
        batch_sizes: The sizes to try, in rising order.
        seconds: Duration for each batch size; at least one call is timed.

    Raises:
        RequestError: No batch sizes, or not in rising order.
        CellError: Not even the first batch fits in memory.
    """
    if not batch_sizes or list(batch_sizes) != sorted(set(batch_sizes)):
        raise RequestError(f"throughput: batch sizes must rise, got {list(batch_sizes)}")
    rates: dict[int, float] = {}
    in_vain = 0
    with inference(network):
        for size in _sizes(batch_sizes, endless=example.is_cuda):
            rate = _images_per_s(network, example, size, seconds)
            if rate is None:
                break
            best_before = max(rates.values(), default=0.0)
            rates[size] = rate
            in_vain = 0 if rate > _WORTHWHILE_GROWTH * best_before else in_vain + 1
            if in_vain == _SIZES_IN_VAIN:
                break
    if not rates:
        raise CellError(f"throughput: a batch of {batch_sizes[0]} does not fit in memory")
    best = max(rates, key=rates.__getitem__)
    return Throughput(images_per_s=rates[best], batch_size=best)


def _sizes(batch_sizes: Sequence[int], *, endless: bool) -> Iterator[int]:
    yield from batch_sizes
    size = batch_sizes[-1]
    while endless:
        size *= _GROWTH
        yield size


def filled(images: Tensor, size: int) -> Tensor:
    """Return a batch of the given size of images (N×C×H×W), repeated as often as it takes."""
    return torch.cat([images] * -(-size // len(images)))[:size]


def _images_per_s(
    network: Callable[[Tensor], object], example: Tensor, size: int, seconds: float
) -> float | None:
    """Return the rate at a batch size, or None if the batch does not fit in memory."""
    try:
        return _rate(network, filled(example, size), seconds)
    except RuntimeError as error:
        from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

        if not should_reduce_batch_size(error):
            raise
    # Not in the handler, where the traceback still refers to the batch.
    clear_device_cache(garbage_collection=True)
    return None


def _rate(network: Callable[[Tensor], object], batch: Tensor, seconds: float) -> float:
    images, took = call_for(call_once(network, batch), batch, seconds)
    return images / took
