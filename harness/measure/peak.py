"""Peak arithmetic rate and memory bandwidth of a device, calibrated by products and a copy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from harness.measure.calls import best_seconds

_SIDE = {"cpu": 2048, "cuda": 8192}
_IMAGES, _CHANNELS, _PIXELS, _KERNEL = 8, 256, 28, 3
_REPEATS = 8
# Far more than any cache holds.
_COPIED_MB = {"cpu": 256, "cuda": 2048}
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The rate in 10^9 floating-point operations per second, and how it was measured.

    A multiply-accumulate is two operations.
    """

    gflops_per_s: float
    method: str


@dataclass(frozen=True, kw_only=True)
class Bandwidth:
    """The bandwidth in 10^9 bytes per second, read and written, and how it was measured."""

    gb_per_s: float
    method: str


@torch.inference_mode()
def measure_peak(device: str, precision: str = "fp32") -> Peak:
    """Compute products for about a second with torch's current number of threads.

    The best time counts, because disturbances only make a product slower. On a CPU the faster of a
    matrix product and a convolution counts. They use different libraries, and one of them may not
    be optimized for the processor: on an AMD EPYC the matrix product reaches 42% of the
    convolution. The precision is bf16 or fp32 (on a GPU as torch is set: TF32 is off by default).
    """
    kind, dtype = torch.device(device).type, _TYPES[precision]
    side = _SIDE[kind]
    matrix = torch.randn(side, side, device=device).to(dtype)
    product = _time(lambda: torch.mm(matrix, matrix), 2 * side**3, f"matrix product, {side}×{side}")
    if kind != "cpu":
        return product
    return max(product, _measure_convolution(dtype), key=lambda peak: peak.gflops_per_s)


@torch.inference_mode()
def measure_bandwidth(device: str) -> Bandwidth:
    """Copy one tensor to another with torch's current number of threads; the best time counts."""
    size_mb = _COPIED_MB[torch.device(device).type]
    source = torch.ones(size_mb * 10**6 // 4, device=device)
    target = torch.empty_like(source)
    seconds = best_seconds(lambda: target.copy_(source), _REPEATS)
    method = f"copy of {size_mb} MB, read and written, best of {_REPEATS}"
    return Bandwidth(gb_per_s=2 * source.nbytes / seconds / 1e9, method=method)


def _measure_convolution(dtype: torch.dtype) -> Peak:
    images = torch.randn(_IMAGES, _CHANNELS, _PIXELS, _PIXELS).to(dtype)
    images = images.contiguous(memory_format=torch.channels_last)
    weights = torch.randn(_CHANNELS, _CHANNELS, _KERNEL, _KERNEL).to(dtype)
    weights = weights.contiguous(memory_format=torch.channels_last)
    return _time(
        lambda: conv2d(images, weights, padding=1),
        2 * images.numel() * _CHANNELS * _KERNEL**2,
        f"{_KERNEL}×{_KERNEL} convolution, {_CHANNELS} channels, {_IMAGES} images of {_PIXELS} "
        "pixels",
    )


def _time(product: Callable[[], Tensor], operations: int, description: str) -> Peak:
    rate = operations / best_seconds(product, _REPEATS) / 1e9
    return Peak(gflops_per_s=rate, method=f"{description}, best of {_REPEATS}")
