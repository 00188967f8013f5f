"""The statistics behind rankings: tests, detectable differences and intervals of ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESAMPLES = 1000
_SEED = 0


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


def detectable_paired(discordant: float, images: int) -> float | None:
    """Return the smallest difference of two accuracies that McNemar's test would find.

    With power 80% at the two-sided 5% level, by the formula of Connor (1987), Biometrics 43(1),
    n = (z₀.₉₇₅ √ψ + z₀.₈ √(ψ − d²))² / d², solved for the difference d. As only images that one
    classifier alone has right make a difference, ψ is at least d.

    Args:
        discordant: ψ, the share of the images that only one of the two classified rightly.
        images: n, the number of test images.

    Returns:
        A fraction of 1; None: no difference is found with so few images.
    """
    factor = _detectable(images)
    return None if factor is None else factor * max(sqrt(discordant), factor)


def detectable_unpaired(accuracy: float, images: int) -> float | None:
    """Return the smallest difference of two accuracies that the two-proportion z-test would find.

    With power 80% at the two-sided 5% level, each classifier on as many images of its own, by the
    formula of Fleiss, Levin and Paik (2003), Statistical Methods for Rates and Proportions, 4.14,
    n = (z₀.₉₇₅ √(2p̄q̄) + z₀.₈ √(p₁q₁ + p₂q₂))² / d², solved for the difference d. Because
    p₁q₁ + p₂q₂ = 2p̄q̄ − d²/2, it is Connor's with 2n images, ψ = 2p̄q̄ and d²/2 in place of d².
    As no accuracy is above 1, d is at most twice the distance of p̄ from 0 or 1.

    Args:
        accuracy: p̄, the mean of the two accuracies, a fraction of 1.
        images: n, the number of images of each.

    Returns:
        A fraction of 1; None: no difference is found with so few images.
    """
    factor = _detectable(2 * images)
    if factor is None:
        return None
    least = 2 * factor**2 / (1 + factor**2)
    return max(2 * factor * sqrt(accuracy * (1 - accuracy)), least)


def bootstrap_ranks(
    right: Sequence[NDArray[np.bool_]], accuracies: Sequence[float], images: int
) -> list[tuple[int, int]]:
    """Return the 95% interval of each classifier's rank, by the percentile bootstrap.

    Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapter 13. Each sample draws as
    many test images as there are, with replacement, the same for all classifiers in `right`; the
    number that each other one has right is drawn from its binomial distribution. A rank is one more
    than the number of classifiers that are right more often. The seed is fixed.

    Args:
        right: For each of K classifiers, whether it is right on each image.
        accuracies: Those of L other classifiers, fractions of 1.
        images: The number of test images.

    Returns:
        The intervals of the K, then of the L classifiers.
    """
    import numpy as np

    generator = np.random.default_rng(_SEED)
    scores = generator.binomial(images, accuracies, size=(RESAMPLES, len(accuracies)))
    if right:
        # Images on which the same classifiers are right are drawn together.
        patterns, counts = np.unique(np.stack(right, axis=1), axis=0, return_counts=True)
        drawn = generator.multinomial(images, counts / images, size=RESAMPLES)
        scores = np.hstack([drawn.astype(np.float32) @ patterns, scores])
    above = [np.searchsorted(np.sort(row), row, side="right") for row in scores]
    ranks = 1 + scores.shape[1] - np.array(above)
    low, high = np.quantile(ranks, (0.025, 0.975), axis=0, method="inverted_cdf")
    return list(zip(map(int, low), map(int, high), strict=True))


def _detectable(images: int) -> float | None:
    """Return d/√ψ of Connor's formula, which is a quadratic equation in it; None: no root."""
    level, power = NormalDist().inv_cdf(0.975), NormalDist().inv_cdf(0.8)
    root = images + power**2 - level**2
    if root < 0:
        return None
    return (level * sqrt(images) + power * sqrt(root)) / (images + power**2)
