"""How fast the device's main memory is, by a short calibration: one large copy, again and again."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import torch

# Far more than any cache holds.
_MB = {"cpu": 256, "cuda": 2048}
_REPEATS = 8


@dataclass(frozen=True, kw_only=True)
class Bandwidth:
    """The traffic that a device was seen to bear.

    Attributes:
        gb_per_s: 10^9 bytes a second, those read and those written.
        method: How it was obtained.
    """

    gb_per_s: float
    method: str


@torch.inference_mode()
def measure_bandwidth(device: str) -> Bandwidth:
    """Copy one tensor to another, with torch's present number of threads; the best time counts.

    Args:
        device: "cpu" or "cuda", with or without an index.
    """
    size_mb = _MB[torch.device(device).type]
    source = torch.ones(size_mb * 10**6 // 4, device=device)
    target = torch.empty_like(source)
    _seconds(source, target)
    best = min(_seconds(source, target) for _ in range(_REPEATS))
    method = f"copy of {size_mb} MB, read and written, best of {_REPEATS}"
    return Bandwidth(gb_per_s=2 * source.nbytes / best / 1e9, method=method)


def _seconds(source: torch.Tensor, target: torch.Tensor) -> float:
    start = perf_counter()
    target.copy_(source)
    if target.is_cuda:
        torch.cuda.synchronize(target.device)
    return perf_counter() - start
