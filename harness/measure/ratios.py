"""Networks side by side: how long each takes as a multiple of a reference, in the same rounds.

Times of one process are off from those of the next by 10 to 20%, most of it alike for all networks:
so they are compared by the ratio to a reference in the same round. What is left of a process in the
ratio itself (where its threads and its memory lie, how the machine runs in these seconds) averages
out over several processes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from harness.errors import RequestError
from harness.measure.latency import Latency, Network, summarise, time_rounds

logger = logging.getLogger(__name__)

MOST_DRIFT = 0.05
_RERUNS = 2
_RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """Networks timed in the same rounds of one process.

    Attributes:
        times_ms: Milliseconds by name: the same index is the same round.
        on_gpu: Whether CUDA events timed them.
        drift: By how much the reference's median of the last third of the rounds differs from that
            of the first third, as a share of it.
        reruns: How many times all rounds were thrown away because it drifted more than 5%.
    """

    times_ms: dict[str, list[float]]
    on_gpu: bool
    drift: float
    reruns: int


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """One network beside the reference.

    Attributes:
        latency: Its own times, those of all processes together.
        ratio: Median over processes of `by_process`; 1 for the reference.
        ratio_low: Lower end of the 95% percentile interval of that median by a bootstrap of two
            levels: processes are drawn, and of each of them its rounds.
        ratio_high: Upper end.
        by_process: Median over a process's rounds of its time divided by the reference's.
    """

    latency: Latency
    ratio: float
    ratio_low: float
    ratio_high: float
    by_process: tuple[float, ...]


def time_side_by_side(
    networks: Mapping[str, Network],
    examples: Mapping[str, Tensor],
    *,
    reference: str,
    rounds: int,
    seconds: float,
    seed: int,
) -> Rounds:
    """Time networks in the same rounds; do it again, twice at most, while the reference drifts.

    Args:
        networks: As for `measure_latency`.
        examples: As for `measure_latency`.
        reference: Name of one of them.
        rounds: The most rounds there will be, at least 20.
        seconds: No further round is begun after this time, once there are 20.
        seed: Of the order.

    Raises:
        RequestError: No such reference, or as `measure_latency`.
    """
    if reference not in networks:
        raise RequestError(f"latency: reference {reference} is not among {[*networks]}")
    for rerun in range(_RERUNS + 1):
        times_ms = time_rounds(networks, examples, rounds=rounds, seconds=seconds, seed=seed)
        drift = measure_drift(times_ms[reference])
        if drift <= MOST_DRIFT or rerun == _RERUNS:
            break
        logger.info("%s drifted by %.0f%%: all again", reference, 100 * drift)
    on_gpu = examples[reference].is_cuda
    return Rounds(times_ms=times_ms, on_gpu=on_gpu, drift=drift, reruns=rerun)


def measure_drift(times_ms: Sequence[float]) -> float:
    """Return how far the median of the last third is from that of the first, as a share of it."""
    third = len(times_ms) // 3
    first, last = np.median(times_ms[:third]), np.median(times_ms[-third:])
    return float(abs(last / first - 1))


def compare_latency(processes: Sequence[Rounds], *, reference: str, seed: int) -> dict[str, Ratio]:
    """Compare the networks that were timed in every process.

    The median of medians, because now and then a process is 10% off: the mean would follow it, and
    the mean's interval would miss the truth more often. How good the interval is depends on the
    number of processes: all of them lie on one side of the truth once in 2^(n-1) times, which of
    one is always, of three in 25% and of five in 6% of cases.

    Args:
        processes: The rounds of one process or more.
        reference: Name of the network that the others are divided by.
        seed: Of the resampling.

    Returns:
        The ratios by name, in the order of the first process.
    """
    names = [n for n in processes[0].times_ms if all(n in each.times_ms for each in processes)]
    return {name: _compare(name, processes, reference, seed) for name in names}


def _compare(name: str, processes: Sequence[Rounds], reference: str, seed: int) -> Ratio:
    times_ms = [each.times_ms[name] for each in processes]
    base_ms = [each.times_ms[reference] for each in processes]
    ratios = [np.array(a) / np.array(b) for a, b in zip(times_ms, base_ms, strict=True)]
    by_process = tuple(float(np.median(each)) for each in ratios)
    low, high = _bootstrap(ratios, seed)
    return Ratio(
        latency=summarise([ms for each in times_ms for ms in each], processes[0].on_gpu),
        ratio=float(np.median(by_process)),
        ratio_low=low,
        ratio_high=high,
        by_process=by_process,
    )


def _bootstrap(processes: Sequence[NDArray[np.float64]], seed: int) -> tuple[float, float]:
    """Return the 95% percentile interval of the median of medians (Efron, 1979).

    Resampled at both levels of a nested sample: Davison and Hinkley, Bootstrap Methods and their
    Application, 1997, section 3.8.
    """
    random = np.random.default_rng(seed)
    drawn = random.integers(len(processes), size=(_RESAMPLES, len(processes)))
    medians = np.empty(drawn.shape)
    for number, ratios in enumerate(processes):
        here = drawn == number
        rounds = random.choice(ratios, (int(here.sum()), len(ratios)))
        medians[here] = np.median(rounds, axis=1)
    low, high = np.percentile(np.median(medians, axis=1), [2.5, 97.5]).tolist()
    return low, high
