"""Verdicts on accuracies, at the edges of the rule, with figures worked out by hand."""

import math
from dataclasses import replace

import pytest
from scipy import stats

from harness.reproduction.accuracy import compare_proportions, judge_accuracy
from tests.harness.reproduction.cells import CONDITIONS, cell


def accuracy(make_record, percent, **changes):
    record = make_record(model="vgg", accuracy_top1=percent, **changes)
    return judge_accuracy(cell(), CONDITIONS, [record])


def test_an_accuracy_that_is_surely_near_reproduces(make_record):
    found = accuracy(make_record, 90.2)
    # Error √(0.09/10⁴ + 0.902·0.098/10⁴) = 0.004223; (0.01 − 0.002)/0.004223 = 1.894.
    assert (found.outcome, found.measured) == ("reproduced", "90.20")
    assert found.p_equivalent == pytest.approx(0.0291, abs=1e-4)
    assert "+0.20 points with trained weights: surely less than 1 point (p = " in found.reason
    assert found.evidence == "records/cifar10/resnet-cpu.json".replace("resnet", "vgg")


def test_an_accuracy_that_is_far_differs(make_record):
    found = accuracy(make_record, 88.9)
    # z = −0.011/√(0.8945·0.1055·2/10⁴) = −2.532.
    assert found.outcome == "differs"
    assert found.p_different == pytest.approx(0.01134, abs=1e-4)
    assert "-1.10 points" in found.reason


def test_an_accuracy_between_the_two_cannot_be_judged(make_record):
    found = accuracy(make_record, 90.6)
    # z = 1.432, and (0.01 − 0.006)/0.00419 = 0.955: neither is below 0.05.
    assert found.outcome == "cannot be judged"
    assert (found.p_different, found.p_equivalent) == (
        pytest.approx(0.1521, abs=1e-3),
        pytest.approx(0.170, abs=1e-3),
    )
    assert "10000 images are too few to tell" in found.reason


def test_a_small_difference_on_many_images_still_reproduces(make_record):
    conditions = replace(CONDITIONS, test_images=1_000_000, evaluated_images=1_000_000)
    record = make_record(model="vgg", accuracy_top1=90.5, n_test=1_000_000)
    found = judge_accuracy(cell(), conditions, [record])
    assert found.outcome == "reproduced"
    assert "though more than chance" in found.reason


def test_images_that_were_left_out_count_either_way(make_record):
    # 90% of 9,000 of 10,000: from 81%, all others wrong, to 91%, all others right.
    conditions = replace(CONDITIONS, evaluated_images=9_000)

    def judge(percent):
        record = make_record(model="vgg", accuracy_top1=percent)
        return judge_accuracy(cell(), conditions, [record])

    # Within the bounds nothing differs, and nothing is surely near: 81% may be 9.2 points away.
    inside = judge(90.2)
    assert (inside.outcome, inside.p_different) == ("cannot be judged", 1)
    assert inside.p_equivalent == pytest.approx(1)
    # Above them it differs from the nearest: 0.01/√(0.915·0.085·2/10⁴) = 2.536.
    outside = judge(92.0)
    assert outside.outcome == "differs"
    assert outside.p_different == pytest.approx(2 * stats.norm.sf(2.5355), rel=1e-3)
    assert "+2.00 points" in outside.reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data_official": False, "data_name": "x.npz"}, "measured on x.npz, not on the official"),
        ({"image_size": 32}, "measured at 32 px, published at 224"),
        ({"start": "random"}, "trained from random weights, published from imagenet"),
        ({"weights_origin": "random"}, "random weights, not trained on the data set"),
        ({"weights_origin": "imagenet"}, "imagenet weights, not trained on the data set"),
        ({"status": "failed", "reason": "loss is nan"}, "failed: loss is nan"),
    ],
)
def test_what_is_another_experiment_is_not_judged(make_record, changes, reason):
    found = accuracy(make_record, 90.0, **changes)
    assert found.outcome == "cannot be judged"
    assert reason in found.reason
    assert found.p_different is None


def test_published_weights_are_judged_before_trained_ones(make_record):
    trained = make_record(model="vgg", accuracy_top1=80.0)
    published = make_record(
        model="vgg",
        accuracy_top1=90.0,
        weights_origin="published",
        start=None,
        settings={"weights": "published"},
    )
    found = judge_accuracy(cell(), CONDITIONS, [trained, published])
    assert (found.outcome, found.measured) == ("reproduced", "90.00")
    # Where they cannot be judged, those that can are.
    other = make_record(
        model="vgg", weights_origin="published", settings={"weights": "published"}, image_size=32
    )
    assert judge_accuracy(cell(), CONDITIONS, [trained, other]).outcome == "differs"


def test_a_run_with_another_seed_is_no_verdict(make_record):
    found = judge_accuracy(cell(), CONDITIONS, [make_record(model="vgg", repeat=True)])
    assert (found.reason, found.measured) == ("not run", None)


def test_what_was_not_run_has_a_command(make_record):
    found = judge_accuracy(cell(), CONDITIONS, [])
    assert (found.outcome, found.reason) == ("cannot be judged", "not run")
    assert found.command == "python comparisons.py --dataset cifar10 --model vgg"
    absent = judge_accuracy(cell(model="no_such_net"), CONDITIONS, [])
    assert (absent.reason, absent.command) == ("this version has no such model", "")


def test_a_difference_worked_out_by_hand():
    # 80% and 90% of 100: pooled 85%, variance 0.85·0.15·0.02 = 0.00255; 0.1/√0.00255 = 1.980295.
    # Unpooled variance (0.16 + 0.09)/100 = 0.0025, error 0.05: (0.2 − 0.1)/0.05 = 2, tail 0.02275.
    wanted = pytest.approx((0.047670, 0.0227501319), abs=1e-6)
    assert compare_proportions(0.8, 100, 0.9, 100, margin=0.2) == wanted
    assert compare_proportions(0.9, 100, 0.8, 100, margin=0.2) == wanted


def test_other_numbers_of_images():
    # 10 of 20 and 60 of 80: pooled 70%, variance 0.21·(1/20 + 1/80) = 0.013125.
    different = 2 * stats.norm.sf(0.25 / math.sqrt(0.013125))
    # (0.01 − 0.25)/√(0.25/20 + 0.1875/80) = −1.97, so far from equivalent.
    equivalent = stats.norm.sf(-0.24 / math.sqrt(0.01484375))
    found = compare_proportions(0.5, 20, 0.75, 80, margin=0.01)
    assert found == pytest.approx((different, equivalent))


def test_perfect_scores_are_equal_and_equivalent():
    assert compare_proportions(1.0, 10, 1.0, 10, margin=0.01) == (1, 0)
    assert compare_proportions(0.0, 10, 1.0, 10, margin=0.01)[1] == 1
