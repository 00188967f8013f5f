"""Environment of a measurement: machine, software and the state of the code."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch

from harness.measure.conditions import fp32_modes
from harness.measure.pinning import usable_cpus
from harness.util.checkout import command_output, read_git_state

_ROOT = Path(__file__).resolve().parents[2]
_CPUINFO = Path("/proc/cpuinfo")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
# Instruction sets that decide which kernels run, as Linux names them (x86, then Arm).
_FLAGS = (
    *("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni"),
    *("amx_tile", "amx_int8", "amx_bf16"),
    *("asimd", "asimddp", "sve", "sve2", "bf16", "i8mm"),
)
_LIBRARIES = ("torch", "torchvision", "timm", "transformers", "thop", "torch-pruning", "numpy")


def describe_environment(device: str) -> dict[str, Any]:
    """Describe this machine, its present state and the software, as a record holds them.

    What could not be read is None; GPUs are described for "cuda" only, with or without an index.
    This takes a fraction of a second.
    """
    cpu_model, flags = _read_cpu()
    commit, dirty = read_git_state(_ROOT)
    gpu = torch.cuda.get_device_properties(device) if device.startswith("cuda") else None
    driver, clock, throttle = _ask_gpu(gpu) if gpu else (None, None, None)
    convolutions, products = fp32_modes() if gpu else (None, None)
    return {
        "device": device,
        "device_name": device_name(device),
        "cpu_model": cpu_model,
        "cpu_cores_physical": psutil.cpu_count(logical=False),
        "cpu_cores_logical": psutil.cpu_count(),
        "cpu_cores_usable": len(usable_cpus()) or None,
        "threads": torch.get_num_threads(),
        "cpu_flags": tuple(flag for flag in _FLAGS if flag in flags),
        "cpu_clock_mhz": _clock_mhz(),
        # Linux's policy for the clock: "performance" or "powersave".
        "cpu_governor": _read(_GOVERNOR),
        "load_average_1min": psutil.getloadavg()[0],
        "gpu_memory_mb": gpu.total_memory / 1e6 if gpu else None,
        "gpu_driver": driver,
        "gpu_clock_mhz": float(clock) if clock and clock.isdigit() else None,
        # A mask of NVML's reasons for a low clock; "0x0…0" where there is none.
        "gpu_throttle": throttle,
        "cuda": torch.version.cuda if gpu else None,
        "cudnn": torch.backends.cudnn.version() if gpu else None,  # type: ignore[no-untyped-call]
        # Whether the fastest algorithm is tried out, so that rounding may differ between runs.
        "cudnn_benchmark": torch.backends.cudnn.benchmark if gpu else None,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "fp32_convolutions": convolutions,
        "fp32_matrix_products": products,
        "container": _container(),
        "virtual_machine": "hypervisor" in flags,
        "operating_system": platform.platform(),
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "git_commit": commit,
        # Files in `results/` do not count: every run changes them.
        "git_dirty": dirty,
    }


def device_name(device: str) -> str:
    """Return the model of a device: "cpu", or "cuda" with or without an index."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else _read_cpu()[0]


def _read_cpu() -> tuple[str, frozenset[str]]:
    """Return the processor's model and all its flags.

    Linux on x86 has both in a file. py-cpuinfo, for other systems and Arm, takes a second.
    """
    text = _read(_CPUINFO) or ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", text, re.MULTILINE)
    if model and flags:
        return model[1].strip(), frozenset(flags[1].split())
    import cpuinfo

    info = cpuinfo.get_cpu_info()
    return info.get("brand_raw", platform.machine()), frozenset(info.get("flags", ()))


def _clock_mhz() -> float | None:
    # Some virtual and Arm machines show no clock and fail with one of these errors.
    try:
        clock = psutil.cpu_freq()
    except (OSError, RuntimeError):
        return None
    return float(clock.current) if clock else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _container() -> str | None:
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return "kubernetes"
    if Path("/run/.containerenv").exists():
        return "podman"
    return "docker" if Path("/.dockerenv").exists() else None


def _ask_gpu(gpu: Any) -> tuple[str | None, str | None, str | None]:
    """Return driver version, clock and throttle reasons of a GPU, as nvidia-smi prints them.

    Each is asked for alone: one name that a driver does not know would fail them all.
    """
    uuid = getattr(gpu, "uuid", None)

    def ask(field: str) -> str | None:
        command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits"]
        found = command_output(*command, *([f"--id=GPU-{uuid}"] if uuid else []))
        answer = found.splitlines()[0].strip() if found else ""
        return None if not answer or answer.startswith(("[", "No devices")) else answer

    # Drivers from 2023 on have the second name, later ones that alone.
    reasons = ask("clocks_throttle_reasons.active") or ask("clocks_event_reasons.active")
    return ask("driver_version"), ask("clocks.sm"), reasons


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
