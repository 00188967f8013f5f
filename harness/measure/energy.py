"""Energy per image, read from the energy counters of processors and GPUs.

No energy framework is used: the existing ones silently fall back on integrated power samples or
leave a device out. Here, energy that no counter reports is None.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from harness.measure.calls import call_for, call_once
from harness.measure.networks import UnmeasuredError, inference
from harness.util.error_text import describe_error

_POWERCAP = Path("/sys/class/powercap")
# More than any package draws. At this power the smallest RAPL counters (65 kJ) last a minute.
_MOST_WATTS = 1000


@dataclass(frozen=True, kw_only=True)
class _Counter:
    """A rising count of joules that wraps around to 0 after `range_j`."""

    read_j: Callable[[], float]
    range_j: float = math.inf


def measure_energy(
    network: Callable[[Tensor], object],
    example: Tensor,
    *,
    seconds: float,
    powercap: Path = _POWERCAP,
) -> tuple[float | None, str | None]:
    """Return the joules per image of calls in a row after one unmeasured call, or None and why.

    On a GPU this is NVML's total energy counter; on a CPU it is the sum of the RAPL counters of all
    packages, without memory modules. Both include idle power and other processes. A GPU needs
    several seconds, because its counter changes about ten times a second and its clock has to rise
    from idle.
    """
    try:
        counters = _gpu_counters(example.device) if example.is_cuda else _cpu_counters(powercap)
        with inference(network):
            return _joules_per_image(network, example, seconds, counters), None
    except UnmeasuredError as reason:
        return None, str(reason)


def _joules_per_image(
    network: Callable[[Tensor], object],
    example: Tensor,
    seconds: float,
    counters: Sequence[_Counter],
) -> float:
    network = call_once(network, example)
    before = [counter.read_j() for counter in counters]
    images, took = call_for(network, example, seconds)
    after = [counter.read_j() for counter in counters]
    if _MOST_WATTS * took > min(counter.range_j for counter in counters):
        raise UnmeasuredError("the counter may have started again more than once; take less time")
    used = [
        (late - early) % counter.range_j
        for counter, early, late in zip(counters, before, after, strict=True)
    ]
    if not all(0 < joules < math.inf for joules in used):
        raise UnmeasuredError("the counter did not move, or was reset; take more time")
    return sum(used) / images


def _cpu_counters(powercap: Path) -> list[_Counter]:
    """Return the counter of every package, without those of its parts and of the whole platform.

    https://docs.kernel.org/power/powercap/powercap.html
    """
    # AMD processors have this name too; "intel-rapl-mmio" shows the same energy a second time.
    zones = sorted(powercap.glob("intel-rapl:*"))
    packages = [zone for zone in zones if _read(zone / "name").startswith("package")]
    if not packages:
        raise UnmeasuredError(
            f"no RAPL counters in {powercap}: needs Linux on an Intel or AMD processor, "
            "and virtual machines seldom show them"
        )
    return [
        _Counter(
            read_j=partial(_read_j, zone / "energy_uj"),
            range_j=_read_j(zone / "max_energy_range_uj"),
        )
        for zone in packages
    ]


def _read_j(path: Path) -> float:
    text = _read(path)
    if not text.isdecimal():
        raise UnmeasuredError(f"{path} says {text!r}, not a number of microjoules")
    return int(text) / 1e6


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except PermissionError:
        raise UnmeasuredError(f"no permission to read {path} (sudo chmod a+r {path})") from None
    except OSError as error:
        raise UnmeasuredError(describe_error(error)) from error


def _gpu_counters(device: torch.device) -> list[_Counter]:
    """Return the counter of one GPU, which NVML and CUDA know by the same UUID."""
    try:
        # Not an import statement: type checks must not depend on whether the extra is installed.
        nvml = importlib.import_module("pynvml")
    except ImportError:
        raise UnmeasuredError("needs NVML's Python library: pip install nvidia-ml-py") from None

    def read_j() -> float:
        try:
            return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
        except nvml.NVMLError as error:
            raise UnmeasuredError(describe_error(error)) from error

    try:
        nvml.nvmlInit()
        uuid = torch.cuda.get_device_properties(device).uuid
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    except nvml.NVMLError as error:
        raise UnmeasuredError(describe_error(error)) from error
    return [_Counter(read_j=read_j)]
