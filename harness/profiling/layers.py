"""The operators of one model, grouped by the module that runs them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness.profiling.graph import Graph, Operator
from harness.profiling.metrics import classify_intensity
from harness.profiling.roofline import Roof, latency_bound_ms, memory_bound_percent


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What the operators of one module take together.

    Attributes:
        module: The module's qualified name; the network itself is "".
        operators: The names of the operators, each with how often it runs if more than once.
        traffic_mb: What they read and write, in 10^6 bytes.
        weights_mb: The part of that which is weights.
        intensity_class: By the same limits as that of a whole network.
        latency_bound_ms: The least time that they take; None without hardware.
        bound: What most of that time is due to, "compute" or "memory"; None without hardware.
    """

    module: str
    operators: str
    macs: int
    flops: int
    traffic_mb: float
    weights_mb: float
    intensity_flops_per_byte: float
    intensity_class: str
    latency_bound_ms: float | None
    bound: str | None


def group_layers(graph: Graph, roof: Roof | None) -> list[Layer]:
    """Return a layer for each module that runs operators itself, in the order they first do."""
    by_module: dict[str, list[Operator]] = {}
    for operator in graph.operators:
        by_module.setdefault(operator.module, []).append(operator)
    return [_layer(module, operators, roof) for module, operators in by_module.items()]


def _layer(module: str, operators: Sequence[Operator], roof: Roof | None) -> Layer:
    flops = sum(operator.flops for operator in operators)
    traffic = sum(operator.traffic_bytes for operator in operators)
    intensity = flops / traffic if traffic else 0.0
    names = Counter(operator.name for operator in operators)
    bound = None
    if roof:
        bound = "memory" if memory_bound_percent(operators, roof) > 50 else "compute"
    return Layer(
        module=module,
        operators=", ".join(f"{count}× {n}" if count > 1 else n for n, count in names.items()),
        macs=sum(operator.macs for operator in operators),
        flops=flops,
        traffic_mb=traffic / 1e6,
        weights_mb=sum(operator.weight_bytes for operator in operators) / 1e6,
        intensity_flops_per_byte=intensity,
        intensity_class=classify_intensity(intensity),
        latency_bound_ms=latency_bound_ms(operators, roof) if roof else None,
        bound=bound,
    )
