"""The statistical tests behind rankings, in the standard library alone, which loads fast."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class McNemarTest:
    """Two classifiers on the same images, by the number that only one of them classified rightly.

    `p_exact` is the two-sided p-value of the binomial distribution with p = 1/2; `p_mid` is less
    half the probability of the finding, which is less conservative.
    """

    only_first: int
    only_second: int
    p_exact: float
    p_mid: float


def mcnemar(only_first: int, only_second: int) -> McNemarTest:
    """Test whether two classifiers are equally often right on the same images.

    McNemar (1947), Psychometrika 12(2); the mid-p form that Fagerland, Lydersen and Laake (2013),
    BMC Medical Research Methodology 13:91, recommend.
    """
    trials, fewer = only_first + only_second, min(only_first, only_second)
    ways, tail = 1, 1
    for k in range(1, fewer + 1):
        ways = ways * (trials - k + 1) // k
        tail += ways
    # Whole numbers divided last: 2 to the power of thousands is no float.
    exact = min(1.0, 2 * tail / 2**trials)
    if only_first == only_second:
        mid = 1 - ways / 2 ** (trials + 1) if trials else 1.0
    else:
        mid = (2 * tail - ways) / 2**trials
    return McNemarTest(only_first=only_first, only_second=only_second, p_exact=exact, p_mid=mid)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number, in the order given.

    Holm (1979), Scandinavian Journal of Statistics 6(2): the smallest times their number, the next
    times one less, and so on; never smaller than one before it, never above 1.
    """
    corrected = [0.0] * len(p_values)
    least = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = least
    return corrected


def rank_intervals(intervals: Sequence[tuple[float, float]]) -> list[int]:
    """Return ranks from 1 on: one more than the number of intervals that lie wholly above.

    Those whose intervals overlap the best one's share the first rank, and so on. Overlap is not
    transitive, so two of different rank may still overlap.
    """
    lows = sorted(low for low, _ in intervals)
    return [1 + len(lows) - bisect_right(lows, high) for _, high in intervals]
