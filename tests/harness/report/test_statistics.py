"""Tests of hypotheses: by hand where a hand can do it, else beside scipy."""

import pytest
from scipy import stats

from harness.report.statistics import holm, mcnemar, rank_intervals


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
