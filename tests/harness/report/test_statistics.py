"""Tests of hypotheses: by hand where a hand can do it, else beside scipy."""

import math

import pytest
from scipy import stats

from harness.report.statistics import compare_proportions, holm, mcnemar, rank_intervals


def test_a_difference_worked_out_by_hand():
    # 80% and 90% of 100: pooled 85%, variance 0.85·0.15·0.02 = 0.00255; 0.1/√0.00255 = 1.980295.
    found = compare_proportions(0.8, 100, 0.9, 100, margin=0.2)
    assert found.difference == pytest.approx(0.1)
    assert found.z == pytest.approx(1.9802950859533488)
    assert found.p_different == pytest.approx(0.047670, abs=1e-6)
    # Unpooled variance (0.16 + 0.09)/100 = 0.0025, error 0.05: (0.2 − 0.1)/0.05 = 2, tail 0.02275.
    assert found.p_equivalent == pytest.approx(0.0227501319, abs=1e-9)


def test_other_numbers_of_images():
    # 10 of 20 and 60 of 80: pooled 70%, variance 0.21·(1/20 + 1/80) = 0.013125.
    found = compare_proportions(0.5, 20, 0.75, 80, margin=0.01)
    assert found.z == pytest.approx(0.25 / math.sqrt(0.013125))
    # (0.01 − 0.25)/√(0.25/20 + 0.1875/80) = −1.97, so far from equivalent.
    assert found.p_equivalent == pytest.approx(stats.norm.sf(-0.24 / math.sqrt(0.01484375)))


def test_the_direction_is_that_of_the_second():
    less, more = (compare_proportions(0.9, 50, p, 50, margin=0.01) for p in (0.8, 1.0))
    assert less.z < 0 < more.z
    assert (less.difference, more.difference) == (pytest.approx(-0.1), pytest.approx(0.1))


def test_perfect_scores_are_equal_and_equivalent():
    found = compare_proportions(1.0, 10, 1.0, 10, margin=0.01)
    assert (found.z, found.p_different, found.p_equivalent) == (0, 1, 0)
    assert compare_proportions(0.0, 10, 1.0, 10, margin=0.01).p_equivalent == 1


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


def test_ranks_are_shared_where_intervals_overlap():
    # The third overlaps the second, though not the first.
    assert rank_intervals([(90, 95), (88, 91), (85, 89), (70, 80)]) == [1, 1, 2, 4]
    assert rank_intervals([(70, 80), (80, 85)]) == [1, 1]
    assert rank_intervals([]) == []
