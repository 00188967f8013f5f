"""Bandwidth of a device's main memory, calibrated by one large copy."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from harness.measure.calls import best_seconds

# Far more than any cache holds.
_MB = {"cpu": 256, "cuda": 2048}
_REPEATS = 8


@dataclass(frozen=True, kw_only=True)
class Bandwidth:
    """The bandwidth in 10^9 bytes per second, read and written, and how it was measured."""

    gb_per_s: float
    method: str


@torch.inference_mode()
def measure_bandwidth(device: str) -> Bandwidth:
    """Copy one tensor to another with torch's current number of threads; the best time counts.

    Args:
        device: "cpu" or "cuda", with or without an index.
    """
    size_mb = _MB[torch.device(device).type]
    source = torch.ones(size_mb * 10**6 // 4, device=device)
    target = torch.empty_like(source)
    seconds = best_seconds(lambda: target.copy_(source), _REPEATS)
    method = f"copy of {size_mb} MB, read and written, best of {_REPEATS}"
    return Bandwidth(gb_per_s=2 * source.nbytes / seconds / 1e9, method=method)
