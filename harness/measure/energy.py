"""Energy per image, from the counters that processors and GPUs keep themselves.

Read without a framework: those that exist fall back on integrated power samples, or leave a device
out, without saying so in the result. What a counter does not tell is None here.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from harness.measure.calls import call_for, call_once
from harness.measure.networks import inference
from harness.util.error_text import describe_error

CPU_METHOD = (
    "RAPL energy counters of all CPU packages: idle power and other processes included, "
    "memory modules not; one untimed call before"
)
GPU_METHOD = (
    "NVML total energy counter of the GPU: idle power and other processes included, "
    "the rest of the machine not; one untimed call before"
)
_POWERCAP = Path("/sys/class/powercap")
# More than any package draws; the smallest RAPL counters (65 kJ) last for a minute of it.
_MOST_WATTS = 1000


@dataclass(frozen=True, kw_only=True)
class Energy:
    """Energy of inference, of which nothing is estimated.

    Attributes:
        energy_j_per_image: Joules, or None.
        energy_reason: Why it is None.
        method: Which counter was read, and what it covers.
        images: How many images the energy was divided by; 0 when none was measured.
    """

    energy_j_per_image: float | None
    energy_reason: str | None
    method: str
    images: int


class _UnreadableError(Exception):
    """A counter tells nothing; the message is the reason."""


@dataclass(frozen=True, kw_only=True)
class _Counter:
    """A count of joules that only rises, and starts again from 0 after `range_j`."""

    read_j: Callable[[], float]
    range_j: float = math.inf


def measure_energy(
    network: Callable[[Tensor], object],
    example: Tensor,
    *,
    seconds: float,
    powercap: Path = _POWERCAP,
) -> Energy:
    """Measure the energy of the device during calls in a row, divided by the images of all calls.

    Args:
        network: A module is put in evaluation mode meanwhile.
        example: One image or more, N×C×H×W, on the network's device.
        seconds: For the calls, at least one. A GPU's counter moves some ten times a second and
            its clock has to rise from idle, so that it needs several.
        powercap: Where Linux shows the counters of the CPU.
    """
    method = GPU_METHOD if example.is_cuda else CPU_METHOD
    try:
        counters = _gpu_counters(example.device) if example.is_cuda else _cpu_counters(powercap)
        with inference(network):
            joules, images = _joules_and_images(network, example, seconds, counters)
    except _UnreadableError as reason:
        return Energy(energy_j_per_image=None, energy_reason=str(reason), method=method, images=0)
    per_image = joules / images
    return Energy(energy_j_per_image=per_image, energy_reason=None, method=method, images=images)


def _joules_and_images(
    network: Callable[[Tensor], object],
    example: Tensor,
    seconds: float,
    counters: Sequence[_Counter],
) -> tuple[float, int]:
    call_once(network, example)
    before = [counter.read_j() for counter in counters]
    images, took = call_for(network, example, seconds)
    after = [counter.read_j() for counter in counters]
    if _MOST_WATTS * took > min(counter.range_j for counter in counters):
        raise _UnreadableError("the counter may have started again more than once; take less time")
    used = [
        (late - early) % counter.range_j
        for counter, early, late in zip(counters, before, after, strict=True)
    ]
    if not all(0 < joules < math.inf for joules in used):
        raise _UnreadableError("the counter did not move, or was reset; take more time")
    return sum(used), images


def _cpu_counters(powercap: Path) -> list[_Counter]:
    """Return the counter of every package; their parts, and the whole platform's, are left out.

    https://docs.kernel.org/power/powercap/powercap.html
    """
    # AMD's processors are under this name too; "intel-rapl-mmio" shows the same energy again.
    zones = sorted(powercap.glob("intel-rapl:*"))
    packages = [zone for zone in zones if _read(zone / "name").startswith("package")]
    if not packages:
        raise _UnreadableError(
            f"no RAPL counters in {powercap}: needs Linux on an Intel or AMD processor, "
            "and virtual machines seldom show them"
        )
    return [_package_counter(zone) for zone in packages]


def _package_counter(zone: Path) -> _Counter:
    return _Counter(
        read_j=lambda: _read_j(zone / "energy_uj"),
        range_j=_read_j(zone / "max_energy_range_uj"),
    )


def _read_j(path: Path) -> float:
    text = _read(path)
    if not text.isdecimal():
        raise _UnreadableError(f"{path} says {text!r}, not a number of microjoules")
    return int(text) / 1e6


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except PermissionError:
        raise _UnreadableError(f"no permission to read {path} (sudo chmod a+r {path})") from None
    except OSError as error:
        raise _UnreadableError(describe_error(error)) from error


def _gpu_counters(device: torch.device) -> list[_Counter]:
    """Return the counter of one GPU, which NVML knows by the same UUID as CUDA."""
    try:
        # Not an import statement, so that types are checked alike with the extra and without.
        nvml = importlib.import_module("pynvml")
    except ImportError:
        raise _UnreadableError("needs NVML's Python library: pip install nvidia-ml-py") from None

    def read_j() -> float:
        try:
            return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
        except nvml.NVMLError as error:
            raise _UnreadableError(describe_error(error)) from error

    try:
        nvml.nvmlInit()
        uuid = torch.cuda.get_device_properties(device).uuid
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    except nvml.NVMLError as error:
        raise _UnreadableError(describe_error(error)) from error
    return [_Counter(read_j=read_j)]
