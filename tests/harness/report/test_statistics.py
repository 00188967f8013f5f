"""Tests of hypotheses: by hand where a hand can do it, else beside scipy."""

import numpy as np
import pytest
from scipy import stats

from harness.report.statistics import (
    bootstrap_ranks,
    detectable_paired,
    detectable_unpaired,
    holm,
    mcnemar,
)


@pytest.mark.parametrize(
    ("only_first", "only_second", "exact", "mid"),
    [
        (0, 0, 1.0, 1.0),
        (1, 0, 1.0, 0.5),
        # 2·(1 + 5)/32 and less 5/32.
        (1, 4, 12 / 32, 7 / 32),
        (4, 1, 12 / 32, 7 / 32),
        # Equally often: 1 − ½·C(4, 2)/16.
        (2, 2, 1.0, 1 - 6 / 32),
        # 2·(1 + 10 + 45)/1024 and less 45/1024.
        (8, 2, 112 / 1024, 67 / 1024),
    ],
)
def test_mcnemar_by_hand(only_first, only_second, exact, mid):
    found = mcnemar(only_first, only_second)
    assert (found.p_exact, found.p_mid) == (exact, mid)


@pytest.mark.parametrize("pair", [(3, 17), (120, 95), (1500, 1390), (2000, 900)])
def test_mcnemar_beside_scipy(pair):
    found, trials = mcnemar(*pair), sum(pair)
    assert found.p_exact == pytest.approx(stats.binomtest(pair[0], trials).pvalue, rel=1e-9)
    point = stats.binom.pmf(min(pair), trials, 0.5)
    assert found.p_mid == pytest.approx(found.p_exact - point, rel=1e-9)


def test_holm_by_hand():
    # 4·0.01, 3·0.02, then 2·0.03 = 0.06 again, and 1·0.04 may not be less than that.
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


# z of 0.975 and of 0.8.
LEVEL, POWER = 1.959964, 0.841621


def test_a_detectable_difference_of_pairs_by_hand():
    # 1000 images, one alone right on 10%: (1.959964·√0.1 + 0.841621·√(0.1 − d²))² / d² = 1000 at
    # d = 0.0279: (0.61980 + 0.26511)² / 0.00077841 = 1006, and 999 at 0.0280.
    found = detectable_paired(0.1, 1000)
    assert found == pytest.approx(0.028, abs=5e-5)
    images = ((LEVEL * 0.1**0.5 + POWER * (0.1 - found**2) ** 0.5) / found) ** 2
    assert images == pytest.approx(1000, rel=1e-5)


def test_pairs_differ_on_no_fewer_images_than_their_accuracies():
    # All differences one way, ψ = d: n·d = (1.959964 + 0.841621·√(1 − d))² = 7.7988 at d = 0.0217.
    for discordant in (0.0, 0.01):
        assert detectable_paired(discordant, 360) == pytest.approx(0.02166, abs=1e-5)
    assert detectable_paired(0.1, 3) is None
    assert detectable_paired(0.1, 4) is not None


def test_a_detectable_difference_of_others_by_hand():
    # p̄ = 1/2, n = 100: d = k(200) = (1.959964·√200 + 0.841621·√(200 − 3.1331)) / 200.7083.
    found = detectable_unpaired(0.5, 100)
    assert found == pytest.approx((27.71808 + 11.80876) / 200.70833, rel=1e-6)
    first, second = 0.5 + found / 2, 0.5 - found / 2
    variance = first * (1 - first) + second * (1 - second)
    assert (LEVEL * 0.5**0.5 + POWER * variance**0.5) ** 2 / found**2 == pytest.approx(100)
    # Beside an accuracy of 1 itself; there is none above.
    for accuracy in (0.9999, 1.0, 0.0):
        least = detectable_unpaired(accuracy, 100)
        other, mean = 1 - least, 1 - least / 2
        needed = LEVEL * (2 * mean * (1 - mean)) ** 0.5 + POWER * (other * (1 - other)) ** 0.5
        assert needed**2 / least**2 == pytest.approx(100, rel=1e-5)
    assert detectable_unpaired(0.5, 1) is None


def test_paired_ranks_are_narrow_where_the_same_images_are_wrong():
    easy, hard = [True] * 700, [False] * 250
    first = np.array([*easy, *[True] * 50, *hard])
    second = np.array([*easy, *[False] * 30, *[True] * 20, *hard])
    # The second is never right alone, so that only samples without one of 30 images are ties.
    assert bootstrap_ranks([first, second], [], 1000) == [(1, 1), (2, 2)]
    # Independent numbers around 750 and 720 have a standard deviation of 20 between them: 7% of
    # the samples are the other way round.
    assert bootstrap_ranks([], [0.75, 0.72], 1000) == [(1, 2), (1, 2)]
    assert bootstrap_ranks([first], [0.72], 1000) == [(1, 2), (1, 2)]


def test_ranks_of_many_lie_around_their_own_and_are_the_same_twice():
    accuracies = [0.9, 0.9, 0.8, 0.3]
    found = bootstrap_ranks([], accuracies, 500)
    assert found == [(1, 2), (1, 2), (3, 3), (4, 4)]
    assert found == bootstrap_ranks([], accuracies, 500)
    alike = np.array([True] * 9 + [False])
    assert bootstrap_ranks([alike, alike], [], 10) == [(1, 1), (1, 1)]
