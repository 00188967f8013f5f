"""The roofline: no operator runs faster than its arithmetic or its traffic allows on hardware.

Williams, Waterman and Patterson, "Roofline", Communications of the ACM 52(4), 2009,
doi:10.1145/1498765.1498785. Hardware is from `configs/hardware.yaml`, or is calibrated.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from pydantic import PositiveFloat, TypeAdapter, ValidationError

from harness.errors import RequestError, unknown_name
from harness.profiling.graph import Operator
from harness.registry import ROOT

Precision = Literal["fp32", "fp16", "bf16", "int8"]
ELEMENT_BYTES: dict[Precision, int] = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}

HARDWARE_FILE = ROOT / "configs" / "hardware.yaml"
THIS_MACHINE = "this-machine"
# Used where a roofline is needed and no hardware was named; the output says so.
USUAL_HARDWARE = "a100"


@dataclass(frozen=True, kw_only=True)
class Roof:
    """What a device does at most, with numbers of a precision.

    Its bandwidth is that of its main memory: 10^9 bytes a second, read and written.
    """

    name: str
    precision: str
    peak_gflops_per_s: float
    bandwidth_gb_per_s: float
    source: str

    @property
    def ridge_flops_per_byte(self) -> float:
        """The intensity above which arithmetic is the limit."""
        return self.peak_gflops_per_s / self.bandwidth_gb_per_s

    def attainable_gflops_per_s(self, intensity: float) -> float:
        """Return the most that an operator of this intensity, in FLOPs per byte, can reach."""
        return min(self.peak_gflops_per_s, intensity * self.bandwidth_gb_per_s)

    def compute_ms(self, operator: Operator) -> float:
        """Return the milliseconds that the arithmetic takes at least."""
        return operator.flops / self.peak_gflops_per_s / 1e6

    def memory_ms(self, operator: Operator) -> float:
        """Return the milliseconds that reading and writing take at least."""
        return operator.traffic_bytes / self.bandwidth_gb_per_s / 1e6

    def bound_ms(self, operator: Operator) -> float:
        """Return the milliseconds that an operator takes at least."""
        return max(self.compute_ms(operator), self.memory_ms(operator))


def latency_bound_ms(operators: Iterable[Operator], roof: Roof) -> float:
    """Return the milliseconds that operators take at least, one after the other."""
    return sum(roof.bound_ms(operator) for operator in operators)


def memory_bound_percent(operators: Iterable[Operator], roof: Roof) -> float:
    """Return the part of that time that is due to operators whose traffic is the limit."""
    each = [(roof.bound_ms(o), roof.memory_ms(o) > roof.compute_ms(o)) for o in operators]
    total = sum(ms for ms, _ in each)
    return 100 * sum(ms for ms, limited in each if limited) / total if total else 0.0


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """An entry of `configs/hardware.yaml`, whose comments say what the fields are."""

    label: str
    peak_tflops: dict[Precision, PositiveFloat]
    bandwidth_gbs: PositiveFloat
    source: str


def read_hardware(path: Path = HARDWARE_FILE) -> dict[str, Hardware]:
    """Return the devices of a YAML file by name; RequestError where one is wrong."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        return TypeAdapter(dict[str, Hardware]).validate_python(tree)
    except (OSError, yaml.YAMLError) as error:
        raise RequestError(f"{path}: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RequestError(f"{path.name}: {where}: {first['msg']}") from None


def find_roof(name: str, precision: Precision) -> Roof:
    """Return what a named device does at most; RequestError if it lacks the precision."""
    if name == THIS_MACHINE:
        return calibrate(precision)
    known = read_hardware()
    if name not in known:
        raise unknown_name("hardware", name, [*known, THIS_MACHINE], "configs/hardware.yaml")
    device = known[name]
    if precision not in device.peak_tflops:
        raise RequestError(
            f"--hardware {name}: {device.label} has no {precision}; "
            f"it has {', '.join(device.peak_tflops)}"
        )
    return Roof(
        name=device.label,
        precision=precision,
        peak_gflops_per_s=1e3 * device.peak_tflops[precision],
        bandwidth_gb_per_s=device.bandwidth_gbs,
        source=device.source,
    )


def find_machine() -> tuple[str, str]:
    """Return "cuda" where there is a GPU, else "cpu", and the name of the device."""
    import torch

    from harness.measure.environment import device_name

    if torch.cuda.is_available():
        return "cuda", device_name("cuda")
    threads = torch.get_num_threads()
    return "cpu", f"{device_name('cpu')}, {threads} thread{'s' if threads > 1 else ''}"


def calibrate(precision: Precision) -> Roof:
    """Measure this machine for a few seconds; RequestError where it has no such product."""
    from harness.measure.peak import measure_bandwidth, measure_peak

    if precision not in ("fp32", "bf16"):
        raise RequestError(
            f"--hardware {THIS_MACHINE} --precision {precision}: only fp32, bf16 can be "
            "calibrated; give --peak-tflops and --bandwidth-gbs"
        )
    device, name = find_machine()
    peak, bandwidth = measure_peak(device, precision), measure_bandwidth(device)
    return Roof(
        name=f"this machine ({name})",
        precision=precision,
        peak_gflops_per_s=peak.gflops_per_s,
        bandwidth_gb_per_s=bandwidth.gb_per_s,
        source=f"calibrated: {peak.method}; {bandwidth.method}",
    )
