"""How much a reported latency changes from one run of the program to the next, by method.

    python benchmarks/repeatability.py --threads 1

Each restart is a process of its own that times the same models in three ways: a plain loop over
each model, timm's way, and ours, side by side in random order. What is compared from restart to
restart is each model's time as a multiple of the first model's, because that is what is reported.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Annotated

import torch
import typer
from torch import Tensor, nn
from typer import Option

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from harness.conditions import undisturbed  # noqa: E402
from harness.measure.networks import inference  # noqa: E402
from harness.measure.ratios import compare_latency  # noqa: E402
from harness.registry import load_model  # noqa: E402

# The first is the reference.
_MODELS = {"resnet": 224, "mobilenet": 224, "deit": 224}
_LOOP_CALLS = 50
_TIMM_WARM_UP, _TIMM_CALLS = 10, 40
_ROUNDS, _SECONDS = 60, 120.0

Ratios = dict[str, float]
Networks = Mapping[str, nn.Module]
Examples = Mapping[str, Tensor]

Restarts = Annotated[int, Option(help="Processes.", min=2)]
Threads = Annotated[int, Option(help="CPU threads.", min=1)]
Once = Annotated[bool, Option("--once", hidden=True)]


def main(restarts: Restarts = 5, threads: Threads = 1, once: Once = False) -> None:
    """Measure in several processes, and print how much each method's ratios vary."""
    if once:
        print(json.dumps(_measure(threads)))
        return
    command = [sys.executable, __file__, "--once", "--threads", str(threads)]
    found = []
    for restart in range(restarts):
        print(f"restart {restart + 1} of {restarts}", file=sys.stderr)
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found.append(json.loads(done.stdout))
    print(_render(found, threads))


def _measure(threads: int) -> dict[str, dict[str, float]]:
    """Return, by method, each model's time as a multiple of the first one's, and that in ms."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    networks = {name: load_model(name).build(10, 3, False).eval() for name in _MODELS}
    examples = {name: torch.rand(1, 3, size, size) for name, size in _MODELS.items()}
    plain = _one_by_one(networks, examples, _time_loop)
    timm = _one_by_one(networks, examples, _time_timm)
    with undisturbed("cpu", "repeatability"):
        ours = _side_by_side(networks, examples)
    return {"plain loop": plain, "timm's way": timm, "side by side, pinned": ours}


def _one_by_one(
    networks: Networks, examples: Examples, time: Callable[[nn.Module, Tensor], float]
) -> Ratios:
    with inference(*networks.values()):
        seconds = {name: time(networks[name], examples[name]) for name in networks}
    first = next(iter(seconds.values()))
    return {name: each / first for name, each in seconds.items()} | {"ms": 1000 * first}


def _time_loop(network: nn.Module, example: Tensor) -> float:
    """Return the mean of one loop around calls, one call before."""
    network(example)
    start = perf_counter()
    for _ in range(_LOOP_CALLS):
        network(example)
    return (perf_counter() - start) / _LOOP_CALLS


def _time_timm(network: nn.Module, example: Tensor) -> float:
    """Return the mean of calls timed one by one after ten calls, as timm's benchmark.py does."""
    for _ in range(_TIMM_WARM_UP):
        network(example)
    times = []
    for _ in range(_TIMM_CALLS):
        start = perf_counter()
        network(example)
        times.append(perf_counter() - start)
    return statistics.fmean(times)


def _side_by_side(networks: Networks, examples: Examples) -> Ratios:
    reference = next(iter(networks))
    found = compare_latency(
        networks, examples, reference=reference, rounds=_ROUNDS, seconds=_SECONDS, seed=0
    ).ratios
    ratios = {name: each.ratio for name, each in found.items()}
    return ratios | {"ms": found[reference].latency.latency_ms_p50}


def _render(found: list[dict[str, Ratios]], threads: int) -> str:
    """Return a Markdown table: the median of each ratio and how far the restarts are apart."""
    first, *others = _MODELS
    header = ["Method", *(f"{name} ÷ {first}" for name in others), f"{first}, ms", "Worst ratio"]
    lines = [header, [":---"] + ["---:"] * (len(header) - 1)]
    for method in found[0]:
        runs = [each[method] for each in found]
        spreads = {key: _variation([run[key] for run in runs]) for key in (*others, "ms")}
        cells = [
            f"{statistics.median(run[key] for run in runs):.4g} ± {spreads[key]:.1%}"
            for key in (*others, "ms")
        ]
        lines.append([method, *cells, f"{max(spreads[key] for key in others):.1%}"])
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    return (
        f"{table}\n\n{len(found)} restarts, {threads} CPU thread(s). ± is the standard deviation "
        "over the restarts, as a share of their mean."
    )


def _variation(values: list[float]) -> float:
    return statistics.stdev(values) / statistics.fmean(values)


if __name__ == "__main__":
    typer.run(main)
