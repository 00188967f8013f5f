"""Hardware for the roofline: from `configs/hardware.yaml`, given by hand, or calibrated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from pydantic import PositiveFloat, TypeAdapter, ValidationError

from harness.errors import RequestError, unknown_name
from harness.profiling.roofline import Roof
from harness.registry import ROOT

Precision = Literal["fp32", "fp16", "bf16", "int8"]
ELEMENT_BYTES: dict[Precision, int] = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}

HARDWARE_FILE = ROOT / "configs" / "hardware.yaml"
THIS_MACHINE = "this-machine"
# Used where a roofline is needed and no hardware was named; the output says so.
USUAL_HARDWARE = "a100"


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """An entry of `configs/hardware.yaml`.

    Attributes:
        label: The device's full name.
        peak_tflops: 10^12 operations a second, by each precision that the device has.
        bandwidth_gbs: 10^9 bytes a second of its main memory.
        source: Where the figures are from.
    """

    label: str
    peak_tflops: dict[Precision, PositiveFloat]
    bandwidth_gbs: PositiveFloat
    source: str


def read_hardware(path: Path = HARDWARE_FILE) -> dict[str, Hardware]:
    """Return the devices of a YAML file by name.

    Raises:
        RequestError: The file cannot be read or is not YAML, or an entry is incomplete.
    """
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
    """Return what a named device does at most with numbers of a precision.

    Raises:
        RequestError: The name is unknown, or the device does not have that precision.
    """
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


def given_roof(peak_tflops: float, bandwidth_gbs: float, precision: Precision) -> Roof:
    """Return a roof from figures on the command line, which `parse_request` has checked."""
    return Roof(
        name=f"{peak_tflops:g} TFLOP/s and {bandwidth_gbs:g} GB/s",
        precision=precision,
        peak_gflops_per_s=1e3 * peak_tflops,
        bandwidth_gb_per_s=bandwidth_gbs,
        source="the command line",
    )


def calibrate(precision: Precision) -> Roof:
    """Measure this machine for a few seconds: its GPU where it has one, else its CPU.

    Raises:
        RequestError: The calibration has no product for this precision.
    """
    import torch

    from harness.measure.environment import device_name
    from harness.measure.peak import measure_bandwidth, measure_peak

    if precision not in ("fp32", "bf16"):
        raise RequestError(
            f"--hardware {THIS_MACHINE} --precision {precision}: only fp32, bf16 can be "
            "calibrated; give --peak-tflops and --bandwidth-gbs"
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    peak, bandwidth = measure_peak(device, precision), measure_bandwidth(device)
    threads = torch.get_num_threads()
    of_cpu = f", {threads} thread{'s' if threads > 1 else ''}" if device == "cpu" else ""
    return Roof(
        name=f"this machine ({device_name(device)}{of_cpu})",
        precision=precision,
        peak_gflops_per_s=peak.gflops_per_s,
        bandwidth_gb_per_s=bandwidth.gb_per_s,
        source=f"calibrated: {peak.method}; {bandwidth.method}",
    )
