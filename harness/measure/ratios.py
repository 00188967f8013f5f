"""Latency of networks side by side, as a ratio to a reference network in the same rounds.

Times differ by 10 to 20% between processes, mostly by the same factor for all networks. Ratios to a
reference in the same round cancel this factor. What remains of a process in the ratio itself (the
placement of its threads and memory, the state of the machine) averages out over several processes.
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
        times_ms: Milliseconds by name; the same index is the same round.
        drift: That of the reference, as `measure_drift` has it.
        reruns: How often all rounds were discarded because the reference drifted by over 5%.
    """

    times_ms: dict[str, list[float]]
    on_gpu: bool
    drift: float
    reruns: int


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """The latency of one network relative to the reference.

    Attributes:
        latency: Times of the network itself, over the rounds of all processes.
        ratio: Median of `by_process`; `ratio_low` and `ratio_high` are the ends of its 95%
            percentile interval by a bootstrap of processes, and of rounds within each.
        by_process: For each process, the median over its rounds of the network's time divided by
            the reference's time.
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
    """Time networks in the same rounds; repeat all, at most twice, if the reference drifts.

    `reference` is the name of one of the networks. The other arguments and the errors are those of
    `measure_latency`; an unknown reference is a RequestError as well.
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
    """Return the relative change of the median from the first third to the last third."""
    third = len(times_ms) // 3
    first, last = np.median(times_ms[:third]), np.median(times_ms[-third:])
    return float(abs(last / first - 1))


def compare_latency(processes: Sequence[Rounds], *, reference: str, seed: int) -> dict[str, Ratio]:
    """Return the ratios by name of the networks that were timed in every process.

    A ratio is a median of medians, because occasionally a process is off by 10%: the mean would
    follow it, and the mean's interval would miss the true value more often. The quality of the
    interval depends on the number n of processes: all of them lie on the same side of the true
    value with probability 1 / 2^(n-1), which is 100% for one, 25% for three and 6% for five.
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
        latency=summarise([ms for each in times_ms for ms in each]),
        ratio=float(np.median(by_process)),
        ratio_low=low,
        ratio_high=high,
        by_process=by_process,
    )


def _bootstrap(processes: Sequence[NDArray[np.float64]], seed: int) -> tuple[float, float]:
    """Return the 95% percentile interval of the median of medians (Efron, 1979).

    Both levels of the nested sample are resampled: Davison and Hinkley, Bootstrap Methods and their
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
