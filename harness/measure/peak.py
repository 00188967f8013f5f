"""What the device can do at most, by a short calibration: one large product, again and again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor
from torch.nn.functional import conv2d

_SIDE = {"cpu": 2048, "cuda": 8192}
_IMAGES, _CHANNELS, _PIXELS, _KERNEL = 8, 256, 28, 3
_REPEATS = 8
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

Product = Callable[[], Tensor]


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The arithmetic that a device was seen to do.

    Attributes:
        gflops_per_s: 10^9 floating-point operations a second, two to a multiply-accumulate.
        precision: Of the numbers.
        method: How it was obtained.
    """

    gflops_per_s: float
    precision: str
    method: str


def measure_peak(device: str, precision: str = "fp32") -> Peak:
    """Compute products for about a second, with torch's present number of threads.

    The best time counts: what slows a product down is never the arithmetic. On a CPU a matrix
    product and a convolution compete, because they go through different libraries, of which one
    may not know the processor: on an AMD EPYC the product reaches 42% of the convolution.

    Args:
        device: "cpu" or "cuda", with or without an index.
        precision: fp32 (on a GPU as torch is set: TF32 is off by default) or bf16.
    """
    products = [_matrix_product(device, precision)]
    if torch.device(device).type == "cpu":
        products.append(_convolution(precision))
    return max(products, key=lambda found: found.gflops_per_s)


def _matrix_product(device: str, precision: str) -> Peak:
    side = _SIDE[torch.device(device).type]
    matrix = torch.randn(side, side, device=device).to(_TYPES[precision])
    rate = _gflops_per_s(lambda: torch.mm(matrix, matrix), 2 * side**3)
    method = f"matrix product, {side}×{side}, best of {_REPEATS}"
    return Peak(gflops_per_s=rate, precision=precision, method=method)


def _convolution(precision: str) -> Peak:
    dtype = _TYPES[precision]
    images = torch.randn(_IMAGES, _CHANNELS, _PIXELS, _PIXELS).to(dtype)
    images = images.contiguous(memory_format=torch.channels_last)
    weights = torch.randn(_CHANNELS, _CHANNELS, _KERNEL, _KERNEL).to(dtype)
    weights = weights.contiguous(memory_format=torch.channels_last)
    operations = 2 * images.numel() * _CHANNELS * _KERNEL**2
    rate = _gflops_per_s(lambda: conv2d(images, weights, padding=1), operations)
    method = (
        f"{_KERNEL}×{_KERNEL} convolution, {_CHANNELS} channels, {_IMAGES} images of {_PIXELS} "
        f"pixels, best of {_REPEATS}"
    )
    return Peak(gflops_per_s=rate, precision=precision, method=method)


@torch.inference_mode()
def _gflops_per_s(product: Product, operations: int) -> float:
    product()
    return operations / min(_seconds(product) for _ in range(_REPEATS)) / 1e9


def _seconds(product: Product) -> float:
    start = perf_counter()
    result = product()
    if result.is_cuda:
        torch.cuda.synchronize(result.device)
    return perf_counter() - start
