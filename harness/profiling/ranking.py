"""Models put in order, and one recommended for a purpose, with what was minimised and why."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from harness.profiling.analysis import Analysis, Failure, Row
from harness.profiling.columns import COLUMNS
from harness.profiling.graph import Graph
from harness.profiling.request import Purpose, SortKey
from harness.profiling.roofline import Roof, latency_bound_ms

_SORTED_BY: dict[SortKey, str] = {
    "params": "params",
    "flops": "gflops",
    "macs": "gmacs",
    "memory": "traffic_mb",
    "efficiency": "flops_per_param",
    "ai": "intensity_flops_per_byte",
    "latency": "latency_bound_ms",
    "depth": "sequential_depth",
    "size": "model_size_mb",
}

_RANKED = (
    ("smallest", "largest", "params"),
    ("least FLOPs", "most FLOPs", "gflops"),
    ("least memory traffic", "most memory traffic", "traffic_mb"),
    ("least compute per parameter", "most compute per parameter", "flops_per_param"),
    ("lowest intensity", "highest intensity", "intensity_flops_per_byte"),
)


@dataclass(frozen=True, kw_only=True)
class Extreme:
    """The model at one end of a ranking.

    Attributes:
        what: "smallest", "most FLOPs" and so on.
        model: Its name.
        field: The field of `Metrics` that was compared.
        shown: Its figure, with the unit.
    """

    what: str
    model: str
    field: str
    shown: str


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """Which model suits a purpose, going by cost alone.

    Attributes:
        purpose: mobile, server, memory or latency.
        minimised: What was minimised.
        why: What that has to do with the purpose.
        unit: Of the scores.
        scores: Every model and what is minimised of it, best first.
    """

    purpose: Purpose
    minimised: str
    why: str
    unit: str
    scores: tuple[tuple[str, float], ...]


def sort_rows(rows: Sequence[Row], key: SortKey | None) -> list[Row]:
    """Return rows smallest first; those without the figure after them, failures last."""
    if key is None:
        return list(rows)
    return sorted(rows, key=lambda row: _position(row, key))


def _position(row: Row, key: SortKey) -> tuple[int, float, str]:
    if isinstance(row, Failure):
        return 2, 0.0, str(row.name)
    value = 0.0 if key == "name" else getattr(row.metrics, _SORTED_BY[key])
    return (0, value, str(row.name)) if value is not None else (1, 0.0, str(row.name))


def rank(analyses: Sequence[Analysis]) -> list[Extreme]:
    """Return the two ends of each ranking; none for fewer than two models."""
    columns = {column.get: column for column in COLUMNS}
    extremes: list[Extreme] = []
    for low, high, field in _RANKED:
        known = [each for each in analyses if getattr(each.metrics, field) is not None]
        if len(known) < 2:
            continue
        ordered = sorted(known, key=lambda each, name=field: getattr(each.metrics, name))  # type: ignore[misc]
        for what, each in ((low, ordered[0]), (high, ordered[-1])):
            column = columns[field]
            shown = f"{column.show(each.metrics)} {_unit(column.name)}"
            extremes.append(Extreme(what=what, model=str(each.name), field=field, shown=shown))
    return extremes


def _unit(name: str) -> str:
    """Return "M" for "parameters, M", and what has no comma as it is."""
    return name.rpartition(", ")[2]


def recommend(analyses: Sequence[Analysis], purpose: Purpose, roof: Roof) -> Recommendation:
    """Return the models in the order of what matters for a purpose.

    Accuracy is not known here, so a smaller network always does better.

    Args:
        analyses: At least one.
        purpose: mobile, server, memory or latency.
        roof: The hardware that times are bounded on.
    """
    minimised, why, unit, scores = _PURPOSES[purpose](analyses, roof)
    named = sorted(zip(map(_label, analyses), scores, strict=True), key=lambda pair: pair[1])
    return Recommendation(
        purpose=purpose, minimised=minimised, why=why, unit=unit, scores=tuple(named)
    )


_Scored = tuple[str, str, str, list[float]]


def _label(analysis: Analysis) -> str:
    return str(analysis.name)


def _mobile(analyses: Sequence[Analysis], _: Roof) -> _Scored:
    costs = [
        (each.metrics.model_size_mb, each.metrics.gflops, each.metrics.peak_activations_mb)
        for each in analyses
    ]
    least = [min(column) or 1.0 for column in zip(*costs, strict=True)]
    scores = [
        math.prod(cost / best for cost, best in zip(each, least, strict=True)) ** (1 / len(least))
        for each in costs
    ]
    return (
        "geometric mean of model size, FLOPs and peak activations, each as a multiple of the least",
        "a phone downloads and stores the weights, its battery pays for the operations, and what "
        "is live must fit beside other apps; none of the three may be traded for another cheaply",
        "×",
        scores,
    )


def _server(analyses: Sequence[Analysis], roof: Roof) -> _Scored:
    return (
        f"least time per image in large batches on {roof.name}, {roof.precision}",
        "a server groups requests: weights are read once for many images, so only the arithmetic "
        "and the activations of each image are left to pay for",
        "ms",
        [_throughput_bound_ms(each.graph, roof) / each.batch_size for each in analyses],
    )


def _throughput_bound_ms(graph: Graph, roof: Roof) -> float:
    unweighted = (replace(operator, weight_bytes=0) for operator in graph.operators)
    return latency_bound_ms(unweighted, roof)


def _memory(analyses: Sequence[Analysis], _: Roof) -> _Scored:
    return (
        "model size + peak activations",
        "both have to be in memory at the same time",
        "MB",
        [each.metrics.model_size_mb + each.metrics.peak_activations_mb for each in analyses],
    )


def _latency(analyses: Sequence[Analysis], roof: Roof) -> _Scored:
    return (
        f"least time of one forward pass on {roof.name}, {roof.precision}",
        "each operator waits for its arithmetic or for its traffic, weights included, whichever "
        "takes longer; real times are above this, most of all where operators are many and small",
        "ms",
        [latency_bound_ms(each.graph.operators, roof) for each in analyses],
    )


_PURPOSES: dict[Purpose, Callable[[Sequence[Analysis], Roof], _Scored]] = {
    "mobile": _mobile,
    "server": _server,
    "memory": _memory,
    "latency": _latency,
}
