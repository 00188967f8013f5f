"""Verdicts on latencies, at the edges of the rule, with figures worked out by hand."""

import dataclasses

import pytest

from harness.reproduction.latency import judge_latency, latency_beside_reference
from tests.harness.reproduction.cells import CONDITIONS, cell

REFERENCE = cell(model="resnet", latency_ms="6.00")


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


def test_a_time_of_another_device_than_the_references_is_not_judged(make_latency_record, make_row):
    row = make_row("resnet_quantized", "Q", 12.0, image_size=224)
    records = [make_latency_record(device=device, rows=(row,)) for device in ("cpu", "cuda")]
    conditions = dataclasses.replace(CONDITIONS, device="cpu")
    quantized = cell(model="resnet_quantized", latency_ms="72.00")
    found = judge_latency(quantized, conditions, REFERENCE, records)
    assert (found.outcome, found.measured, found.published) == ("cannot be judged", None, "12")
    assert found.reason == "published of a CPU, ResNet-50's of a GPU: no ratio of the two networks"


def test_the_reference_itself_is_not_judged(make_latency_record):
    found = judge_latency(REFERENCE, CONDITIONS, REFERENCE, [make_latency_record(device="cuda")])
    assert found.reason == "it is what the other times are divided by"


def test_the_ratio_is_that_of_the_fewest_threads_in_eager(make_latency_record, make_row):
    two = make_latency_record(threads=2)
    one = make_latency_record(threads=1, rows=(make_row("vit", "ViT", 3.0),))
    assert latency_beside_reference([two, one], "vit", "cpu")[1].ratio == 3.0
    assert latency_beside_reference([two], "vit", "cpu")[1].ratio == 2.5
    assert latency_beside_reference([two], "trunk", "cpu") is None  # not timed
    assert latency_beside_reference([two], "vit", "cuda") is None
    assert latency_beside_reference([make_latency_record(reference="vit")], "vit", "cpu") is None


def test_the_published_network_is_not_ours_where_that_is_another(make_latency_record, make_row):
    def find(model):
        rows = (make_row(model, "A row", 12.0, weights_origin="published"),)
        return latency_beside_reference([make_latency_record(rows=rows)], model, "cpu")

    assert find("resnet_quantized") is None
    assert find("trunk")[1].ratio == 12.0


def test_a_doubtful_comparison_is_not_trusted(make_latency_record, make_row):
    drifted = make_latency_record(threads=1, drifted=True)
    busy = make_latency_record(threads=2, busy="others")
    good = make_latency_record(threads=4, rows=(make_row("vit", "ViT", 4.0),))
    found = latency_beside_reference([drifted, busy, good], "vit", "cpu", trusted=True)
    assert found[1].ratio == 4.0
    assert latency_beside_reference([drifted, busy], "vit", "cpu", trusted=True) is None
