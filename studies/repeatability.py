"""Measure how much a reported latency changes from one run of the program to the next, by method.

    python studies/repeatability.py --threads 1

Each restart times the same models in four ways, in fresh processes: a plain loop over each model,
timm's way, and ours, side by side in random order, in one process and in several. What is compared
from restart to restart is each model's time as a multiple of the first model's, because that is
what is reported.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from torch import Tensor, nn
from typer import Option

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.catalog import load_model
from harness.measure.conditions import watched
from harness.measure.lock import device_lock
from harness.measure.networks import inference
from harness.measure.ratios import Rounds, compare_latency, time_side_by_side
from harness.report.table import Table

# Image sizes by model; the first model is the reference.
_MODELS = {"resnet": 224, "mobilenet": 224, "deit": 224}
_REFERENCE, *_OTHERS = _MODELS
_LOOP_CALLS = 50
_TIMM_WARM_UP, _TIMM_CALLS = 10, 40
_ROUNDS, _SECONDS = 60, 120.0

Ratios = dict[str, float]
Networks = Mapping[str, nn.Module]
Examples = Mapping[str, Tensor]

Restarts = Annotated[int, Option(help="How often all is done anew.", min=2)]
Threads = Annotated[int, Option(help="CPU threads.", min=1)]
Processes = Annotated[int, Option(help="Processes of one comparison side by side.", min=2)]
Part = Annotated[str, Option(hidden=True, help="What this process measures: alone, together.")]


def main(
    restarts: Restarts = 5, threads: Threads = 1, processes: Processes = 5, part: Part = ""
) -> None:
    """Measure in many processes, and print how much each method's ratios vary."""
    if part:
        networks, examples = _build(threads)
        alone = part == "alone"
        print(json.dumps((_time_alone if alone else _time_together)(networks, examples)))
        return
    found, busy = [], 0
    for restart in range(restarts):
        print(f"restart {restart + 1} of {restarts}", file=sys.stderr)
        with device_lock("cpu", "repeatability"):
            ratios = _run("alone", threads)
            times = [_run("together", threads) for _ in range(processes)]
        busy += sum(each["busy"] is not None for each in times)
        rounds = [Rounds(**each["rounds"]) for each in times]
        ratios["side by side, one process"] = _ratios(rounds[:1])
        ratios[f"side by side, {processes} processes"] = _ratios(rounds)
        found.append(ratios)
    print(_render(found, threads))
    if busy:
        everything = restarts * processes
        print(f"The machine was busy with other work in {busy} of {everything} processes.")


def _run(part: str, threads: int) -> Any:
    """Return what a new process measures."""
    command = [sys.executable, __file__, "--part", part, "--threads", str(threads)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def _build(threads: int) -> tuple[Networks, Examples]:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    networks = {name: load_model(name).build(10, 3, False).eval() for name in _MODELS}
    return networks, {name: torch.rand(1, 3, size, size) for name, size in _MODELS.items()}


def _time_alone(networks: Networks, examples: Examples) -> dict[str, Ratios]:
    """Return, by method, each model's time as a multiple of the first one's, and that in ms."""
    ratios = {}
    for method, time in {"plain loop": _time_loop, "timm's way": _time_timm}.items():
        with inference(*networks.values()):
            seconds = {name: time(networks[name], examples[name]) for name in networks}
        first = seconds[_REFERENCE]
        ratios[method] = {name: each / first for name, each in seconds.items()}
        ratios[method]["ms"] = 1000 * first
    return ratios


def _time_together(networks: Networks, examples: Examples) -> dict[str, Any]:
    with watched() as conditions:
        rounds = time_side_by_side(
            networks,
            examples,
            reference=_REFERENCE,
            rounds=_ROUNDS,
            seconds=_SECONDS,
            seed=os.getpid(),  # an order of its own in each process
        )
    return {"rounds": dataclasses.asdict(rounds), "busy": conditions.busy}


def _time_loop(network: nn.Module, example: Tensor) -> float:
    """Return the mean of one loop around calls, one call before."""
    network(example)
    start = perf_counter()
    for _ in range(_LOOP_CALLS):
        network(example)
    return (perf_counter() - start) / _LOOP_CALLS


def _time_timm(network: nn.Module, example: Tensor) -> float:
    """Return the mean of calls timed one by one after ten calls, as timm's benchmark.py does."""
    times = []
    for _ in range(_TIMM_WARM_UP + _TIMM_CALLS):
        start = perf_counter()
        network(example)
        times.append(perf_counter() - start)
    return statistics.fmean(times[_TIMM_WARM_UP:])


def _ratios(processes: list[Rounds]) -> Ratios:
    found = compare_latency(processes, reference=_REFERENCE, seed=0)
    ratios = {name: each.ratio for name, each in found.items()}
    return ratios | {"ms": found[_REFERENCE].latency.latency_ms_p50}


def _render(found: list[dict[str, Ratios]], threads: int) -> str:
    """Return a Markdown table: the median of each ratio and its variation over the restarts."""
    figures = [*_OTHERS, "ms"]
    runs = pd.concat(pd.DataFrame(each).T[figures] for each in found).groupby(level=0, sort=False)
    medians, variations = runs.median(), runs.std() / runs.mean()
    rows = [
        [
            method,
            *(f"{medians[key][method]:.4g} ± {variations[key][method]:.1%}" for key in figures),
            f"{variations.loc[method, _OTHERS].max():.1%}",
        ]
        for method in medians.index
    ]
    ratios = [f"{name} ÷ {_REFERENCE}" for name in _OTHERS]
    header = ["Method", *ratios, f"{_REFERENCE}, ms", "Worst ratio"]
    return (
        f"{Table.of_texts(header, rows).markdown()}\n{len(found)} restarts, {threads} CPU "
        "thread(s). ± is the standard deviation over the restarts, as a share of their mean."
    )


if __name__ == "__main__":
    typer.run(main)
