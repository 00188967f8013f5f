"""The figures of made-up graphs, by hand."""

import dataclasses

import pytest

from harness.profiling.columns import COLUMNS
from harness.profiling.graph import Graph
from harness.profiling.layers import group_layers, sum_layers
from harness.profiling.metrics import Metrics, classify_intensity, compute_metrics

SIZE = {
    "params": 50,
    "trainable_params": 40,
    "model_size_mb": 0.5,
    "peak_activations_mb": 0.25,
}


@pytest.fixture(name="graph")
def _graph(make_operator):
    """FLOPs per byte: 60, 5, 0 (it moves data), 20."""
    return Graph(
        operators=(
            make_operator(macs=3_000_000, flops=6_000_000, input_bytes=40_000, output_bytes=60_000),
            make_operator(
                flops=500_000, input_bytes=20_000, weight_bytes=80_000, predecessors=(0,)
            ),
            make_operator(input_bytes=100_000, output_bytes=100_000, predecessors=(0,)),
            make_operator(macs=500_000, flops=2_000_000, output_bytes=100_000, predecessors=(1, 2)),
        ),
        results=frozenset([3]),
    )


def test_all_figures_by_hand(graph, roof):
    # Least time: 0.06, 0.01 (memory), 0.02 (memory), 0.02 ms.
    assert compute_metrics(graph, "complete", roof, **SIZE) == Metrics(
        params=50,
        trainable_params=40,
        model_size_mb=0.5,
        operators=4,
        sequential_depth=3,
        max_width_channels=None,
        gmacs=0.0035,
        gflops=0.0085,
        flops_per_param=170_000.0,
        params_per_mac=50 / 3_500_000,
        traffic_mb=0.5,
        traffic_input_mb=0.16,
        traffic_output_mb=0.26,
        traffic_weights_mb=0.08,
        bytes_per_flop=500_000 / 8_500_000,
        peak_activations_mb=0.25,
        intensity_flops_per_byte=17.0,
        compute_bound_operators_percent=25.0,
        memory_bound_operators_percent=50.0,
        intensity_class="balanced",
        operators_per_level=4 / 3,
        max_operators_per_level=2,
        critical_path_gflops=0.0085,
        ridge_flops_per_byte=10.0,
        latency_bound_ms=pytest.approx(0.11),
        memory_bound_time_percent=pytest.approx(100 * 0.03 / 0.11),
    )


def test_the_published_intensity_is_the_mean_over_units_with_flops(graph):
    metrics = compute_metrics(graph, "published", None, **SIZE)
    assert metrics.intensity_flops_per_byte == (60 + 5 + 20) / 3


def test_without_hardware_there_are_no_times(graph):
    metrics = compute_metrics(graph, "complete", None, **SIZE)
    assert metrics.ridge_flops_per_byte is None
    assert metrics.latency_bound_ms is None
    assert metrics.memory_bound_time_percent is None


def test_an_empty_network_has_no_ratios(roof):
    graph = Graph(operators=(), results=frozenset())
    metrics = compute_metrics(graph, "complete", roof, **dict.fromkeys(SIZE, 0))
    assert metrics.flops_per_param is None
    assert metrics.params_per_mac is None
    assert metrics.bytes_per_flop is None
    assert metrics.latency_bound_ms == 0.0


@pytest.mark.parametrize(
    ("intensity", "expected"),
    [
        (9.99, "memory-bound"),
        (10.0, "balanced"),
        (50.0, "balanced"),
        (50.01, "compute-bound"),
    ],
)
def test_the_limits_of_the_classes(intensity, expected):
    assert classify_intensity(intensity) == expected


def test_every_figure_has_a_column_and_every_column_a_figure():
    fields = [field.name for field in dataclasses.fields(Metrics)]
    assert [column.get for column in COLUMNS] == fields


def test_layers_at_a_depth_have_all_parameters_and_all_that_is_kept(make_operator):
    names = ("stem", "blocks.0.conv", "blocks.0.act", "blocks.1.conv", "")
    operators = [make_operator(name="op", module=name, macs=10) for name in names]
    graph = Graph(operators=tuple(operators), results=frozenset())
    parameters = {
        "stem.weight": 1,
        "blocks.0.conv.weight": 10,
        # Of a module that runs nothing itself, in one that does.
        "blocks.1.conv.inner.weight": 100,
        "token": 1000,
    }
    saved = {"blocks.0.conv": 2_000_000, "blocks.0.act": 3_000_000, "stem": 0}
    layers = group_layers(graph, None, parameters, saved, 2)
    assert [(each.module, each.macs, each.params, each.saved_mb) for each in layers] == [
        ("stem", 10, 1, 0.0),
        ("blocks.0", 20, 10, 5.0),
        ("blocks.1", 10, 100, 0.0),
        ("", 10, 1000, 0.0),
    ]
    total = sum_layers(layers, graph.operators, None)
    assert (total.macs, total.params, total.saved_mb) == (50, 1111, 5.0)
    assert [each.module for each in group_layers(graph, None, depth=1)] == ["stem", "blocks", ""]
    assert group_layers(graph, None)[0].saved_mb is None
