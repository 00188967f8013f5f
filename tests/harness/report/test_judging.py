"""Verdicts on published figures: each rule at its edges, with figures worked out by hand."""

import pytest
from harness.report.judging import judge_accuracy, judge_latency
from harness.report.judging_costs import judge_count, judge_size

from harness.reproduction.published import PublishedCell, PublishedConditions


def cell(**changes):
    fields = {
        "dataset": "cifar10",
        "model": "vgg",
        "label": "VGG16",
        "accuracy_top1": "90.00",
        "latency_ms": "3.00",
        "file_mb": "100.00",
        "gmacs_thop": "15.47",
    }
    return PublishedCell(**(fields | changes))


CONDITIONS = PublishedConditions(
    test_images=10_000, image_size=224, start="imagenet", device="cuda"
)
REFERENCE = cell(model="resnet", latency_ms="6.00")


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
    conditions = PublishedConditions(
        test_images=1_000_000, image_size=224, start="imagenet", device="cuda"
    )
    record = make_record(model="vgg", accuracy_top1=90.5, n_test=1_000_000)
    found = judge_accuracy(cell(), conditions, [record])
    assert found.outcome == "reproduced"
    assert "though more than chance" in found.reason


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


def latency(make_latency_record, make_row, low, high, **changes):
    row = make_row("vgg", "VGG", 0.5, ratio_low=low, ratio_high=high, image_size=224)
    record = make_latency_record(**({"device": "cuda", "rows": (row,)} | changes))
    return judge_latency(cell(), CONDITIONS, REFERENCE, [record])


# Published: 3.00/6.00 = 0.5; within a factor of 1.25 is from 0.4 to 0.625.
@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (0.6, 0.7, "reproduced"),
        (0.625, 0.7, "reproduced"),
        (0.63, 0.7, "differs"),
        (0.3, 0.4, "reproduced"),
        (0.3, 0.39, "differs"),
        (0.1, 9.0, "reproduced"),
    ],
)
def test_a_latency_is_judged_by_its_ratio(make_latency_record, make_row, low, high, outcome):
    found = latency(make_latency_record, make_row, low, high)
    assert (found.outcome, found.published) == (outcome, "0.5")
    assert found.evidence == "latency/cifar10-cuda-2t.json"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"device": "cpu"}, "timed on a CPU, published on a GPU, where the ratio is another"),
        ({"drifted": True}, "timed while the reference drifted"),
        ({"busy": "others"}, "timed while the reference was disturbed"),
        ({"reference": "vit"}, "not compared on a GPU"),
    ],
)
def test_a_latency_of_other_conditions_is_not_judged(
    make_latency_record, make_row, changes, reason
):
    found = latency(make_latency_record, make_row, 0.5, 0.5, **changes)
    assert (found.outcome, found.reason) == ("cannot be judged", reason)
    assert bool(found.command) == (reason == "not compared on a GPU")


def test_a_latency_at_another_size_is_not_judged(make_latency_record, make_row):
    record = make_latency_record(device="cuda", rows=(make_row("vgg", "VGG", 0.5),))
    found = judge_latency(cell(), CONDITIONS, REFERENCE, [record])
    assert (found.outcome, found.reason) == (
        "cannot be judged",
        "timed at 32 px, published at 224",
    )


def test_the_reference_itself_is_not_judged(make_latency_record):
    found = judge_latency(REFERENCE, CONDITIONS, REFERENCE, [make_latency_record(device="cuda")])
    assert found.reason == "it is what the other times are divided by"


@pytest.mark.parametrize(
    ("printed", "file_mb", "outcome"),
    [
        ("100.00", 100.5, "reproduced"),
        ("100.00", 100.51, "differs"),
        ("100.00", 99.49, "differs"),
        # Half a unit of the last digit, 0.05, is more than 0.5% of 1.2.
        ("1.2", 1.249, "reproduced"),
        ("1.2", 1.26, "differs"),
    ],
)
def test_a_size_is_within_half_a_percent_or_the_printed_digits(
    make_cost, printed, file_mb, outcome
):
    found = judge_size(cell(file_mb=printed), make_cost(file_mb=file_mb), None)
    assert found.outcome == outcome
    assert found.evidence == "costs/cifar10/resnet-224.json"


def test_both_ends_of_a_range_are_judged(make_cost, make_path):
    paths = (make_path("root", file_mb=0.227), make_path("1", file_mb=0.764))
    cost = make_cost(paths=paths, file_mb=3.0)
    assert judge_size(cell(file_mb="0.23-0.76"), cost, None).outcome == "reproduced"
    found = judge_size(cell(file_mb="0.23-0.85"), cost, None)
    assert (found.outcome, found.measured) == ("differs", "0.23-0.76")


def test_a_records_weights_stand_in_for_a_file(make_record):
    found = judge_size(cell(), None, make_record(weights_mb=99.8))
    assert (found.outcome, found.measured) == ("reproduced", "99.80")
    assert found.reason.startswith("parameters and buffers of 99.80 MB")
    assert judge_size(cell(), None, None).command.endswith("--model vgg --measure cost")


@pytest.mark.parametrize(
    ("printed", "counted", "outcome"),
    [
        ("15.47", 15.4663, "reproduced"),
        ("15.46", 15.4663, "differs"),
        ("15.5", 15.4663, "reproduced"),
        ("15.47", 15.4751, "differs"),
    ],
)
def test_a_count_is_equal_to_the_printed_digits(make_cost, printed, counted, outcome):
    found = judge_count(cell(gmacs_thop=printed), make_cost(gmacs_thop=counted), None)
    assert found.outcome == outcome
    assert "true: 4.087 GMACs" in found.reason


def test_a_range_of_counts(make_cost, make_path, make_record):
    paths = (make_path("root", gmacs_thop=0.0397), make_path("1", gmacs_thop=0.3719, gmacs=0.34))
    cost = make_cost(paths=paths, gmacs_thop=None)
    found = judge_count(cell(gmacs_thop="0.04-0.37"), cost, None)
    assert (found.outcome, found.measured) == ("reproduced", "0.04-0.37")
    assert found.reason.endswith("true: 0.08-0.34 GMACs")
    path = {"classes": 5, "params": 1, "weights_mb": 1.0, "images": 1, "latency_ms_p50": 1.0}
    paths = [
        path | {"name": "root", "gmacs_thop": 0.04, "gmacs": 0.03},
        path | {"name": "1", "gmacs_thop": 0.4, "gmacs": 0.3},
    ]
    found = judge_count(cell(gmacs_thop="0.04-0.4"), None, make_record(paths=paths))
    assert found.outcome == "reproduced"


def test_what_thop_does_not_count_is_not_judged(make_cost):
    found = judge_count(cell(), make_cost(gmacs_thop=None), None)
    assert (found.outcome, found.reason) == ("cannot be judged", "thop does not count it")
