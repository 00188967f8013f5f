"""The figures of a network, each with its unit in its name.

docs/MODEL_COMPARISON_METRICS.md explains them one by one; a test holds the two together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.profiling.graph import Graph, Operator
from harness.profiling.roofline import Roof, latency_bound_ms, memory_bound_percent

Accounting = Literal["complete", "published"]
IntensityClass = Literal["compute-bound", "balanced", "memory-bound"]

COMPUTE_BOUND_ABOVE = 50.0
MEMORY_BOUND_BELOW = 10.0


@dataclass(frozen=True, kw_only=True)
class NetworkSize:
    """What a network holds, whatever runs it.

    Attributes:
        params: Parameters; a shared one counts once.
        trainable_params: Those that ask for a gradient.
        model_size_mb: Parameters and buffers at the precision asked for, 10^6 bytes.
        peak_activations_mb: The largest sum of live results, at that precision, 10^6 bytes.
    """

    params: int
    trainable_params: int
    model_size_mb: float
    peak_activations_mb: float


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Every figure of one network, of one forward pass over the whole batch.

    Attributes:
        params: Parameters; a shared one counts once.
        trainable_params: Those that ask for a gradient.
        model_size_mb: Parameters and buffers, MB.
        operators: In the graph.
        sequential_depth: Operators on the longest chain.
        max_width_channels: The most that a layer puts out, the last aside; None without one.
        gmacs: 10^9 multiply-accumulates of convolutions, matrix products and attention.
        gflops: 10^9 floating-point operations of all operators.
        flops_per_param: FLOPs for each parameter; None without parameters.
        params_per_mac: Parameters for each multiply-accumulate; None without any of those.
        traffic_mb: Read and written by all operators, MB.
        traffic_input_mb: Of that, read, weights aside.
        traffic_output_mb: Of that, written.
        traffic_weights_mb: Of that, read of weights.
        bytes_per_flop: Traffic for each FLOP; None without FLOPs.
        peak_activations_mb: The largest sum of live results, MB.
        intensity_flops_per_byte: Arithmetic intensity.
        compute_bound_operators_percent: Operators with more than 50 FLOPs a byte.
        memory_bound_operators_percent: Operators with fewer than 10 FLOPs a byte.
        intensity_class: Of the network's own intensity, by the same limits.
        operators_per_level: Mean number of operators that could run at the same time.
        max_operators_per_level: The most that could.
        critical_path_gflops: The most FLOPs on any chain of operators, 10^9.
        ridge_flops_per_byte: The hardware's; None without hardware, like the two below.
        latency_bound_ms: What the forward pass takes at least.
        memory_bound_time_percent: How much of that is due to traffic.
    """

    params: int
    trainable_params: int
    model_size_mb: float
    operators: int
    sequential_depth: int
    max_width_channels: int | None
    gmacs: float
    gflops: float
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
    graph: Graph, size: NetworkSize, accounting: Accounting, roof: Roof | None
) -> Metrics:
    """Return every figure of a network."""
    operators = graph.operators
    macs = sum(operator.macs for operator in operators)
    flops = sum(operator.flops for operator in operators)
    traffic = sum(operator.traffic_bytes for operator in operators)
    intensity = average_intensity(operators, accounting)
    return Metrics(
        params=size.params,
        trainable_params=size.trainable_params,
        model_size_mb=size.model_size_mb,
        operators=len(operators),
        sequential_depth=graph.depth,
        max_width_channels=graph.max_width,
        gmacs=macs / 1e9,
        gflops=flops / 1e9,
        flops_per_param=_ratio(flops, size.params),
        params_per_mac=_ratio(size.params, macs),
        traffic_mb=traffic / 1e6,
        traffic_input_mb=sum(operator.input_bytes for operator in operators) / 1e6,
        traffic_output_mb=sum(operator.output_bytes for operator in operators) / 1e6,
        traffic_weights_mb=sum(operator.weight_bytes for operator in operators) / 1e6,
        bytes_per_flop=_ratio(traffic, flops),
        peak_activations_mb=size.peak_activations_mb,
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


def average_intensity(operators: Sequence[Operator], accounting: Accounting) -> float:
    """Return the FLOPs per byte of a network.

    Complete: all FLOPs over all bytes. Published: the unweighted mean over the units that have
    any, so that a small layer weighs as much as a large one.
    """
    if accounting == "published":
        each = [operator.intensity for operator in operators if operator.intensity > 0]
        return sum(each) / len(each) if each else 0.0
    traffic = sum(operator.traffic_bytes for operator in operators)
    return sum(operator.flops for operator in operators) / traffic if traffic else 0.0


def classify_intensity(flops_per_byte: float) -> IntensityClass:
    """Return the class of an intensity; the limits themselves are balanced."""
    if flops_per_byte > COMPUTE_BOUND_ABOVE:
        return "compute-bound"
    return "memory-bound" if flops_per_byte < MEMORY_BOUND_BELOW else "balanced"


def _percent(operators: Sequence[Operator], wanted: IntensityClass) -> float:
    found = sum(classify_intensity(operator.intensity) == wanted for operator in operators)
    return 100 * found / len(operators) if operators else 0.0


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
