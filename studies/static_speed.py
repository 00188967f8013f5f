"""Measure how fast models are compared without weights, and name those that cannot be.

    taskset -c 0 env OMP_NUM_THREADS=1 python studies/static_speed.py
    python studies/static_speed.py --timm 300 --accounting published

Counts every image classifier of torchvision, and so many of timm chosen by a seed, each at its own
image size; building is in the time, importing is not. For each library: models a second, median,
95th percentile and longest time of a model, by the clock and of the processor alone (what other
processes take of a shared core is not in the latter), and what failed.
"""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Annotated, cast

import typer
from typer import Option

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.profiling.analysis import Failure, analyse_all
from harness.profiling.metrics import Accounting
from harness.profiling.names import ModelName, Source, known_names
from harness.profiling.request import Options

Timm = Annotated[int, Option(help="How many of timm's models.")]
Seed = Annotated[int, Option(help="Of the choice.")]
Kind = Annotated[str, Option("--accounting", help="complete or published.")]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long it took to build and count one model, and why it has no figures, if so."""

    name: ModelName
    seconds: float
    cpu_seconds: float
    reason: str | None


def main(timm: Timm = 100, seed: Seed = 0, accounting: Kind = "complete") -> None:
    """Count models, and print how long it took."""
    # One form of re-parameterised networks, as others have one.
    options = Options(accounting=cast("Accounting", accounting), form="train")
    # Warm up: the first model would otherwise pay for imports and caches.
    time_models(["resnet18"], "torchvision", options)
    time_models(["resnet18"], "timm", options)
    sample = random.Random(seed).sample(known_names("timm"), timm)  # noqa: S311
    for source, names in (("torchvision", known_names("torchvision")), ("timm", sample)):
        print(render(source, time_models(names, cast("Source", source), options)))


def time_models(names: Sequence[str], source: Source, options: Options) -> list[Timing]:
    """Build and count models one after the other."""
    timings = []
    for name in (ModelName(source=source, name=each) for each in names):
        start, cpu_start = perf_counter(), process_time()
        (row,) = analyse_all([name], options)
        seconds, cpu_seconds = perf_counter() - start, process_time() - cpu_start
        reason = row.reason if isinstance(row, Failure) else None
        timings.append(Timing(name=name, seconds=seconds, cpu_seconds=cpu_seconds, reason=reason))
    return timings


def render(source: str, timings: Sequence[Timing]) -> str:
    """Return the times, and a line for each model that failed."""
    failed = [timing for timing in timings if timing.reason is not None]
    share = 100 * len(failed) / len(timings)
    longest = max(timings, key=lambda timing: timing.seconds)
    lines = [
        f"{source}: {len(timings)} models, {len(failed)} failed ({share:.1f}%)",
        f"  by the clock: {_describe([timing.seconds for timing in timings])} ({longest.name})",
        f"  of the processor: {_describe([timing.cpu_seconds for timing in timings])}",
    ]
    return "\n".join([*lines, *(f"  {timing.name}: {timing.reason}" for timing in failed)])


def _describe(times: Sequence[float]) -> str:
    ordered = sorted(times)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return (
        f"{len(ordered) / sum(ordered):.2f} models/s; median {statistics.median(ordered):.3f} s, "
        f"95th percentile {p95:.3f} s, longest {ordered[-1]:.3f} s"
    )


if __name__ == "__main__":
    typer.run(main)
