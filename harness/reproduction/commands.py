"""The commands that measure what a published table is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from harness.reproduction.published import REFERENCE

Command = Callable[[str, Iterable[str]], str]
"""Takes the name of a data set and the names of models."""


def run_command(dataset: str, models: Iterable[str]) -> str:
    """Return the command that runs cells."""
    return f"python comparisons.py --dataset {dataset} --model {','.join(models)}"


def cost_command(dataset: str, models: Iterable[str]) -> str:
    """Return the command that counts costs."""
    return f"{run_command(dataset, models)} --measure cost"


def latency_command(dataset: str, models: Iterable[str]) -> str:
    """Return the command that times models beside the reference on a CPU."""
    names = dict.fromkeys((REFERENCE, *models))
    return f"{run_command(dataset, names)} --measure latency --threads 1"


def gpu_latency_command(dataset: str, models: Iterable[str]) -> str:
    """Return the command that times models beside the reference on a GPU."""
    names = dict.fromkeys((REFERENCE, *models))
    return f"{run_command(dataset, names)} --measure latency --device cuda"
