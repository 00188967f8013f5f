"""Latency of one call, for any number of networks side by side.

Absolute times drift by 10 to 20% between processes. Therefore all networks to be compared are timed
in one process and visited in a new random order each round: ratios of times of the same round are
meaningful.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from time import perf_counter_ns

import numpy as np
import torch
from torch import Tensor

from harness.errors import RequestError
from harness.measure.networks import inference, own_inputs

MIN_ROUNDS = 20
# Long enough for a GPU to raise its clock from idle.
_GPU_WARM_UP_SECONDS = 1.0

Network = Callable[[Tensor], object]


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Percentiles of the time of one call over the rounds, linearly interpolated, in milliseconds.

    With fewer than 100 rounds, `latency_ms_p99` is close to the maximum.
    """

    latency_ms_p05: float
    latency_ms_p50: float
    latency_ms_p95: float
    latency_ms_p99: float
    latency_rounds: int


def in_turn(network: Network, images: Tensor) -> Network:
    """Return a call that ignores its argument and gives a network one image after the other.

    The untimed call and the timed one that follows it see the same image.
    """
    # Views made beforehand: picking an image must not be part of a timed call.
    calls, singles = count(), torch.split(images, 1)

    def call(_: Tensor) -> object:
        return network(singles[next(calls) // 2 % len(singles)])

    return call


def measure_latency(
    networks: Mapping[str, Network],
    examples: Mapping[str, Tensor],
    *,
    rounds: int,
    seconds: float,
    seed: int,
) -> dict[str, Latency]:
    """Time every network in random order each round, one untimed call before each timed one.

    Args:
        networks: The candidates by name.
        examples: Input of each candidate, on its device: 1×C×H×W for the latency per image.
        rounds: Maximum number of rounds, at least 20.
        seconds: No further round begins after this time, once there are 20.
        seed: Seed of the order.

    Raises:
        RequestError: Too few rounds, or networks and examples with different names.
    """
    times_ms = time_rounds(networks, examples, rounds=rounds, seconds=seconds, seed=seed)
    return {name: summarise(times) for name, times in times_ms.items()}


def time_rounds(
    networks: Mapping[str, Network],
    examples: Mapping[str, Tensor],
    *,
    rounds: int,
    seconds: float,
    seed: int,
) -> dict[str, list[float]]:
    """Return each network's milliseconds by round; the same index is the same round.

    Arguments and errors are those of `measure_latency`.
    """
    if rounds < MIN_ROUNDS:
        raise RequestError(f"latency needs at least {MIN_ROUNDS} rounds, not {rounds}")
    if networks.keys() != examples.keys():
        raise RequestError(f"latency: networks {[*networks]} but examples {[*examples]}")
    times_ms: dict[str, list[float]] = {name: [] for name in networks}
    order = np.random.default_rng(seed)
    with inference(*networks.values()):
        _warm_up_gpu(networks, examples)
        timed = dict(networks)
        deadline = perf_counter_ns() + seconds * 1e9
        for done in range(rounds):
            if done >= MIN_ROUNDS and perf_counter_ns() >= deadline:
                break
            for name in order.permutation([*networks]).tolist():
                if done:
                    timed[name](examples[name])
                else:
                    timed[name] = own_inputs(networks[name], examples[name])
                times_ms[name].append(_time_call_ms(timed[name], examples[name]))
    return times_ms


def _time_call_ms(network: Network, example: Tensor) -> float:
    if not example.is_cuda:
        start = perf_counter_ns()
        network(example)
        return (perf_counter_ns() - start) / 1e6
    torch.cuda.synchronize(example.device)
    with torch.cuda.device(example.device):
        begin = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        begin.record()
        network(example)
        end.record()
        end.synchronize()
    return float(begin.elapsed_time(end))


def _warm_up_gpu(networks: Mapping[str, Network], examples: Mapping[str, Tensor]) -> None:
    on_gpu = [name for name in networks if examples[name].is_cuda]
    deadline = perf_counter_ns() + _GPU_WARM_UP_SECONDS * 1e9
    while on_gpu and perf_counter_ns() < deadline:
        for name in on_gpu:
            # Two calls, as in a round: `in_turn` counts them.
            networks[name](examples[name].clone())
            _time_call_ms(networks[name], examples[name].clone())


def summarise(times_ms: Sequence[float]) -> Latency:
    """Return the percentiles of one network's times in milliseconds."""
    p05, p50, p95, p99 = np.percentile(times_ms, [5, 50, 95, 99]).tolist()
    return Latency(
        latency_ms_p05=p05,
        latency_ms_p50=p50,
        latency_ms_p95=p95,
        latency_ms_p99=p99,
        latency_rounds=len(times_ms),
    )


def describe_method(*, on_gpu: bool) -> str:
    """Return how calls are timed, in words."""
    clock = "CUDA events, synchronised" if on_gpu else "perf_counter_ns"
    return f"{clock}; one untimed call before each timed one; random order each round"
