"""Sorting models, ranking them, and recommending one for a purpose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

from harness.profiling.analysis import Analysis, Failure, Row
from harness.profiling.columns import COLUMNS
from harness.profiling.hardware import Roof, latency_bound_ms
from harness.profiling.request import SORTED_BY, Purpose

_RANKED = (
    ("smallest", "largest", "params"),
    ("least FLOPs", "most FLOPs", "gflops"),
    ("least memory traffic", "most memory traffic", "traffic_mb"),
    ("least compute per parameter", "most compute per parameter", "flops_per_param"),
    ("lowest intensity", "highest intensity", "intensity_flops_per_byte"),
)


@dataclass(frozen=True, kw_only=True)
class Extreme:
    """The model at one end of a ranking: what it is ("smallest"), by which field of `Metrics`."""

    what: str
    model: str
    field: str
    shown: str


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """Which model suits a purpose, going by cost alone.

    What was minimised, why, and every model with its value of that, best first.
    """

    purpose: Purpose
    minimised: str
    why: str
    unit: str
    scores: tuple[tuple[str, float], ...]


def sort_rows(rows: Sequence[Row], key: str) -> list[Row]:
    """Return rows with the smallest first, then those without the figure, then failures."""

    def position(row: Row) -> tuple[int, float, str]:
        if isinstance(row, Failure):
            return 2, 0.0, str(row.name)
        value = getattr(row.metrics, SORTED_BY[key], 0.0)  # names are compared in any case
        return (0, value, str(row.name)) if value is not None else (1, 0.0, str(row.name))

    return sorted(rows, key=position)


def rank(analyses: Sequence[Analysis]) -> list[Extreme]:
    """Return the two ends of each ranking of at least two models."""
    columns = {str(column.get): column for column in COLUMNS}
    extremes: list[Extreme] = []
    for low, high, field in _RANKED:
        column = columns[field]
        values = [(column.value(each.metrics), each) for each in analyses]
        ordered = sorted((pair for pair in values if pair[0] is not None), key=itemgetter(0))
        for what, at in ((low, 0), (high, -1)) if len(ordered) > 1 else ():
            _, each = ordered[at]
            # "M" of "parameters, M", and a name without a comma as it is.
            shown = f"{column.show(each.metrics)} {column.name.rpartition(', ')[2]}"
            extremes.append(Extreme(what=what, model=str(each.name), field=field, shown=shown))
    return extremes


def recommend(analyses: Sequence[Analysis], purpose: Purpose, roof: Roof) -> Recommendation:
    """Return at least one model in the order of what matters for a purpose on some hardware.

    Accuracy is not known here, so a smaller network always does better.
    """
    minimised, why, unit = _PURPOSES[purpose]
    names = (str(each.name) for each in analyses)
    pairs = zip(names, _scores(analyses, purpose, roof), strict=True)
    return Recommendation(
        purpose=purpose,
        minimised=minimised.format(hardware=f"{roof.name}, {roof.precision}"),
        why=why,
        unit=unit,
        scores=tuple(sorted(pairs, key=itemgetter(1))),
    )


# What each purpose minimises, why, and the unit.
_PURPOSES: dict[Purpose, tuple[str, str, str]] = {
    "mobile": (
        "geometric mean of model size, FLOPs and peak activations, each as a multiple of the least",
        "a phone downloads and stores the weights, its battery pays for the operations, and what "
        "is live must fit beside other apps; none of the three may be traded for another cheaply",
        "×",
    ),
    "server": (
        "least time per image in large batches on {hardware}",
        "a server groups requests: weights are read once for many images, so only the arithmetic "
        "and the activations of each image are left to pay for",
        "ms",
    ),
    "memory": (
        "model size + peak activations",
        "both have to be in memory at the same time",
        "MB",
    ),
    "latency": (
        "least time of one forward pass on {hardware}",
        "each operator waits for its arithmetic or for its traffic, weights included, whichever "
        "takes longer; real times are above this, most of all where operators are many and small",
        "ms",
    ),
}


def _scores(analyses: Sequence[Analysis], purpose: Purpose, roof: Roof) -> list[float]:
    """Return what a purpose minimises, for each model."""
    if purpose == "memory":
        return [each.metrics.model_size_mb + each.metrics.peak_activations_mb for each in analyses]
    if purpose == "latency":
        return [latency_bound_ms(each.graph.operators, roof) for each in analyses]
    if purpose == "server":
        # In batches so large, weights cost nothing.
        free = [[replace(o, weight_bytes=0) for o in each.graph.operators] for each in analyses]
        pairs = zip(analyses, free, strict=True)
        return [latency_bound_ms(operators, roof) / each.batch_size for each, operators in pairs]
    costs = [
        (each.metrics.model_size_mb, each.metrics.gflops or 0.0, each.metrics.peak_activations_mb)
        for each in analyses
    ]
    least = [min(column) or 1.0 for column in zip(*costs, strict=True)]
    return [
        math.prod(cost / best for cost, best in zip(each, least, strict=True)) ** (1 / len(least))
        for each in costs
    ]
