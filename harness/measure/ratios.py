"""Networks side by side: how long each takes as a multiple of a reference, in the same rounds.

Times of one process are off from those of the next by 10 to 20%, all of them alike: the ratio of
two times of the same round is not. So networks are compared by the median over rounds of their
ratio to a reference, and the reference's own times are given with it.
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
class Ratio:
    """One network beside the reference.

    Attributes:
        latency: Its own times.
        ratio: Median over rounds of its time divided by the reference's; 1 for the reference.
        ratio_low: Lower end of the 95% percentile bootstrap interval of that median, over rounds.
        ratio_high: Upper end.
    """

    latency: Latency
    ratio: float
    ratio_low: float
    ratio_high: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Networks timed in the same rounds.

    Attributes:
        ratios: By name.
        reference: Whose times the others are divided by.
        drift: By how much the reference's median of the last third of the rounds differs from that
            of the first third, as a share of it.
        reruns: How many times all rounds were thrown away because it drifted more than 5%.
    """

    ratios: dict[str, Ratio]
    reference: str
    drift: float
    reruns: int

    @property
    def drifted(self) -> bool:
        """Whether the reference drifted too much to the last."""
        return self.drift > MOST_DRIFT


def compare_latency(
    networks: Mapping[str, Network],
    examples: Mapping[str, Tensor],
    *,
    reference: str,
    rounds: int,
    seconds: float,
    seed: int,
) -> Comparison:
    """Time networks side by side; do it again, twice at most, while the reference drifts.

    Args:
        networks: As for `measure_latency`.
        examples: As for `measure_latency`.
        reference: Name of one of them.
        rounds: The most rounds there will be, at least 20.
        seconds: No further round is begun after this time, once there are 20.
        seed: Of the order and of the resampling.

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
    base = np.array(times_ms[reference])
    ratios = {
        name: _ratio(times, base, examples[name].is_cuda, seed) for name, times in times_ms.items()
    }
    return Comparison(ratios=ratios, reference=reference, drift=drift, reruns=rerun)


def measure_drift(times_ms: Sequence[float]) -> float:
    """Return how far the median of the last third is from that of the first, as a share of it."""
    third = len(times_ms) // 3
    first, last = np.median(times_ms[:third]), np.median(times_ms[-third:])
    return float(abs(last / first - 1))


def _ratio(times_ms: Sequence[float], base: NDArray[np.float64], on_gpu: bool, seed: int) -> Ratio:
    ratios = np.array(times_ms) / base
    low, high = _bootstrap(ratios, seed)
    return Ratio(
        latency=summarise(times_ms, on_gpu),
        ratio=float(np.median(ratios)),
        ratio_low=low,
        ratio_high=high,
    )


def _bootstrap(values: NDArray[np.float64], seed: int) -> tuple[float, float]:
    """Return the 95% percentile bootstrap interval of the median (Efron, 1979)."""
    drawn = np.random.default_rng(seed).choice(values, (_RESAMPLES, len(values)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5]).tolist()
    return low, high
