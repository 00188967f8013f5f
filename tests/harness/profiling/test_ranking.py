"""Order, rankings and recommendations of made-up models, by hand."""

import pytest

from harness.profiling.analysis import Failure
from harness.profiling.layers import group_layers
from harness.profiling.names import ModelName
from harness.profiling.ranking import rank, recommend, sort_rows


@pytest.fixture(name="models")
def _models(make_operator, make_analysis, roof):
    """`busy` computes, `bulky` reads weights, `wide` moves activations."""
    busy = make_operator(flops=4_000_000, input_bytes=1_000, output_bytes=1_000)
    bulky = make_operator(flops=1_000_000, input_bytes=1_000, weight_bytes=900_000)
    wide = make_operator(flops=2_000_000, input_bytes=200_000, output_bytes=100_000)
    return [
        make_analysis("busy", [busy], roof=roof, params=30, model_size_mb=8.0),
        make_analysis("bulky", [bulky], roof=roof, params=90, model_size_mb=27.0),
        make_analysis("wide", [wide], roof=roof, params=10, peak_activations_mb=9.5),
    ]


BROKEN = Failure(name=ModelName(source="timm", name="broken"), reason="it is broken")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("name", ["bulky", "busy", "wide", "timm:broken"]),
        ("params", ["wide", "busy", "bulky", "timm:broken"]),
        ("size", ["wide", "busy", "bulky", "timm:broken"]),
        ("flops", ["bulky", "wide", "busy", "timm:broken"]),
        ("memory", ["busy", "wide", "bulky", "timm:broken"]),
        ("efficiency", ["bulky", "busy", "wide", "timm:broken"]),
        ("ai", ["bulky", "wide", "busy", "timm:broken"]),
        ("latency", ["wide", "busy", "bulky", "timm:broken"]),
        ("macs", ["bulky", "busy", "wide", "timm:broken"]),
        ("depth", ["bulky", "busy", "wide", "timm:broken"]),
    ],
)
def test_models_are_sorted_smallest_first_and_failures_come_last(models, key, expected):
    assert [str(row.name) for row in sort_rows([BROKEN, *models], key)] == expected


def test_what_a_model_lacks_comes_after_what_it_has(models, make_analysis):
    nothing = make_analysis("nothing", [], params=0)
    names = [str(row.name) for row in sort_rows([nothing, *models], "efficiency")]
    assert names[-1] == "nothing"


def test_the_ends_of_the_rankings(models):
    found = {extreme.what: (extreme.model, extreme.shown) for extreme in rank(models)}
    assert found == {
        "smallest": ("wide", "1e-05 M"),
        "largest": ("bulky", "9e-05 M"),
        "least FLOPs": ("bulky", "0.001 GFLOPs"),
        "most FLOPs": ("busy", "0.004 GFLOPs"),
        "least memory traffic": ("busy", "0.002 MB"),
        "most memory traffic": ("bulky", "0.90 MB"),
        "least compute per parameter": ("bulky", "11111.11 FLOPs/parameter"),
        "most compute per parameter": ("wide", "200000.00 FLOPs/parameter"),
        "lowest intensity": ("bulky", "1.110 FLOPs/byte"),
        "highest intensity": ("busy", "2000.000 FLOPs/byte"),
    }
    assert rank(models[:1]) == []


@pytest.mark.parametrize(
    ("purpose", "unit", "expected"),
    [
        # 8 × 4 × 1, 27 × 1 × 1, 1 × 2 × 9.5: the cube roots
        ("mobile", "×", {"wide": 19 ** (1 / 3), "bulky": 3.0, "busy": 32 ** (1 / 3)}),
        # Weights are not read again for each image.
        ("server", "ms", {"bulky": 0.01, "wide": 0.03, "busy": 0.04}),
        ("memory", "MB", {"busy": 9.0, "wide": 10.5, "bulky": 28.0}),
        ("latency", "ms", {"wide": 0.03, "busy": 0.04, "bulky": 0.0901}),
    ],
)
def test_what_is_recommended_minimises_what_it_says(models, purpose, unit, expected, roof):
    found = recommend(models, purpose, roof)
    assert dict(found.scores) == pytest.approx(expected)
    assert [name for name, _ in found.scores] == list(expected)
    assert found.unit == unit
    assert found.why
    assert ("a device" in found.minimised) == (purpose in ("server", "latency"))


def test_layers_are_the_operators_of_a_module_together(make_operator, make_analysis, roof):
    operators = [
        make_operator(module="a", macs=3, flops=6, input_bytes=1_000_000),
        make_operator(module="", name="add", flops=1, output_bytes=10),
        make_operator(module="a", name="relu", flops=4, output_bytes=500_000),
        make_operator(module="a", name="relu", flops=4, weight_bytes=500_000),
    ]
    graph = make_analysis("m", operators).graph
    first, second = group_layers(graph, roof)
    assert (first.module, first.operators) == ("a", "conv2d, 2× relu")
    assert (first.macs, first.flops, first.traffic_mb, first.weights_mb) == (3, 14, 2.0, 0.5)
    assert first.intensity_flops_per_byte == 14 / 2_000_000
    assert first.intensity_class == "memory-bound"
    assert first.latency_bound_ms == pytest.approx(0.2)
    assert first.bound == "memory"
    assert (second.module, second.operators) == ("", "add")
    assert group_layers(graph, None)[0].latency_bound_ms is None
    assert group_layers(graph, None)[0].bound is None
