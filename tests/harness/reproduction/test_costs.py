"""Verdicts on sizes and counts, at the edges of the rules, with figures worked out by hand."""

import pytest

from harness.reproduction.costs import judge_count, judge_size
from tests.harness.reproduction.cells import cell


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


def test_a_count_of_thop_alone_is_judged(make_cost):
    found = judge_count(cell(), make_cost(gmacs=None), None)
    assert found.outcome != "cannot be judged"
    assert found.reason.endswith("; true: not counted")
