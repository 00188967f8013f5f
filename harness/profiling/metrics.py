"""The figures of a network, each with its unit in its name.

docs/MODEL_COMPARISON_METRICS.md defines them one by one; a test keeps the two in step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.profiling.graph import Graph, Operator
from harness.profiling.hardware import Roof, latency_bound_ms, memory_bound_percent

Accounting = Literal["complete", "published"]
IntensityClass = Literal["compute-bound", "balanced", "memory-bound"]

COMPUTE_BOUND_ABOVE = 50.0
MEMORY_BOUND_BELOW = 10.0


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Every figure of one network, of one forward pass over the whole batch.

    MB are 10^6 bytes. A ratio is None where its divisor is 0, the width where no layer but the last
    puts out channels, `gmacs`, `gflops` and their ratios where an operator that multiplies has no
    formula, and the last three figures where no hardware was named.
    """

    params: int
    trainable_params: int
    model_size_mb: float
    operators: int
    sequential_depth: int
    max_width_channels: int | None
    gmacs: float | None
    gflops: float | None
    activations: int = 0
    flops_per_param: float | None
    params_per_mac: float | None
    traffic_mb: float
    traffic_input_mb: float
    traffic_output_mb: float
    traffic_weights_mb: float
    bytes_per_flop: float | None
    peak_activations_mb: float
    intensity_flops_per_byte: float
    compute_bound_operators_percent: float
    memory_bound_operators_percent: float
    intensity_class: IntensityClass
    operators_per_level: float
    max_operators_per_level: int
    critical_path_gflops: float
    ridge_flops_per_byte: float | None
    latency_bound_ms: float | None
    memory_bound_time_percent: float | None


def compute_metrics(
    graph: Graph,
    accounting: Accounting,
    roof: Roof | None,
    *,
    params: int,
    trainable_params: int,
    model_size_mb: float,
    peak_activations_mb: float,
) -> Metrics:
    """Return every figure of a network: those of its graph, and the four given, which it lacks.

    The accounting that the graph was made with decides what its intensity is.
    """
    operators = graph.operators
    macs = sum(operator.macs for operator in operators)
    flops = sum(operator.flops for operator in operators)
    traffic = sum(operator.traffic_bytes for operator in operators)
    intensity = flops / traffic if traffic else 0.0
    known = not graph.uncounted
    if accounting == "published":
        # The unweighted mean over the units that have FLOPs: a small layer weighs as much as any.
        each = [operator.intensity for operator in operators if operator.intensity > 0]
        intensity = sum(each) / len(each) if each else 0.0
    return Metrics(
        params=params,
        trainable_params=trainable_params,
        model_size_mb=model_size_mb,
        operators=len(operators),
        sequential_depth=graph.depth,
        max_width_channels=graph.max_width,
        gmacs=macs / 1e9 if known else None,
        gflops=flops / 1e9 if known else None,
        activations=sum(operator.activations for operator in operators),
        flops_per_param=_ratio(flops, params) if known else None,
        params_per_mac=_ratio(params, macs) if known else None,
        traffic_mb=traffic / 1e6,
        traffic_input_mb=sum(operator.input_bytes for operator in operators) / 1e6,
        traffic_output_mb=sum(operator.output_bytes for operator in operators) / 1e6,
        traffic_weights_mb=sum(operator.weight_bytes for operator in operators) / 1e6,
        bytes_per_flop=_ratio(traffic, flops) if known else None,
        peak_activations_mb=peak_activations_mb,
        intensity_flops_per_byte=intensity,
        compute_bound_operators_percent=_percent(operators, "compute-bound"),
        memory_bound_operators_percent=_percent(operators, "memory-bound"),
        intensity_class=classify_intensity(intensity),
        operators_per_level=len(operators) / graph.depth if graph.depth else 0.0,
        max_operators_per_level=max(Counter(graph.levels).values(), default=0),
        critical_path_gflops=graph.critical_flops / 1e9,
        ridge_flops_per_byte=roof.ridge_flops_per_byte if roof else None,
        latency_bound_ms=latency_bound_ms(operators, roof) if roof else None,
        memory_bound_time_percent=memory_bound_percent(operators, roof) if roof else None,
    )


def classify_intensity(flops_per_byte: float) -> IntensityClass:
    """Return the class of an intensity; the limits themselves count as balanced."""
    if flops_per_byte > COMPUTE_BOUND_ABOVE:
        return "compute-bound"
    return "memory-bound" if flops_per_byte < MEMORY_BOUND_BELOW else "balanced"


def _percent(operators: Sequence[Operator], wanted: IntensityClass) -> float:
    found = sum(classify_intensity(operator.intensity) == wanted for operator in operators)
    return 100 * found / len(operators) if operators else 0.0


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
