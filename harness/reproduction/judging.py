"""Judges the publication: a verdict on each published figure, and its contradictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.records.cell import Record
from harness.records.material import Material
from harness.reproduction.accuracy import judge_accuracy
from harness.reproduction.contradictions import Contradiction, explanation, find_contradictions
from harness.reproduction.costs import judge_count, judge_size
from harness.reproduction.latency import judge_latency
from harness.reproduction.published import (
    REFERENCE,
    PublishedConditions,
    published_cells,
    published_conditions,
    published_costs,
)
from harness.reproduction.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """How the publication compares with what lies in a results folder.

    Attributes:
        verdicts: A verdict on each figure of each published row, in the published order.
        contradictions: The contradictions in the publication; verdicts count them from 1.
        attempted: Whether the folder holds anything of a data set that was published.
    """

    verdicts: Sequence[Verdict]
    contradictions: Sequence[Contradiction]
    attempted: bool


def judge_publication(material: Material) -> Reproduction:
    """Return the verdicts and the contradictions that all that was measured leads to."""
    datasets = list(dict.fromkeys(name for name, _ in published_cells()))
    verdicts = [v for name in datasets for v in _judge_dataset(name, material.of(name))]
    contradictions = find_contradictions(material)
    numbers = {each.key: number for number, each in enumerate(contradictions, start=1)}
    return Reproduction(
        verdicts=[_with_hints(verdict, verdicts, numbers) for verdict in verdicts],
        contradictions=contradictions,
        attempted=bool({*datasets} & {*material.datasets}),
    )


def _judge_dataset(dataset: str, material: Material) -> list[Verdict]:
    cells, counted = published_cells(), published_costs(material.costs)
    as_published = published_costs(material.costs, "published")
    reference, verdicts = cells.get((dataset, REFERENCE)), list[Verdict]()
    # The published trees follow one path an image.
    records = [record for record in material.records if record.beam == 1]
    for (name, model), cell in cells.items():
        if name == dataset:
            conditions = published_conditions()[name, model]
            cost, runs = counted.get(model), [r for r in records if r.cell.model == model]
            if conditions.own_network:
                cost, runs = as_published.get(model), [r for r in runs if r.published]
            shaped = _shaped(runs, conditions)
            own = [
                judge_accuracy(cell, conditions, runs),
                judge_latency(cell, conditions, reference, material.latencies),
                judge_size(cell, cost, shaped),
                judge_count(cell, cost, shaped),
            ]
            verdicts += [_with_published_weights(v) if conditions.own_network else v for v in own]
    return verdicts


def _shaped(records: Sequence[Record], conditions: PublishedConditions) -> Record | None:
    """Return a record at the published image size, of published weights before others."""
    ran = [r for r in records if r.status == "ok" and not r.settings.repeat]
    fitting = [r for r in ran if r.settings.image_size == conditions.image_size]
    return min(fitting, key=lambda r: (not r.published, r.cell.device), default=None)


def _with_published_weights(verdict: Verdict) -> Verdict:
    """Return a verdict whose command, if there is one, measures the published network."""
    if not verdict.command:
        return verdict
    return replace(
        verdict,
        reason=f"{verdict.reason} with published weights",
        command=f"{verdict.command} --weights published",
    )


def _with_hints(
    verdict: Verdict, verdicts: Sequence[Verdict], numbers: Mapping[str, int]
) -> Verdict:
    """Return a verdict that differs with the reason why, as far as it is known."""
    if verdict.outcome != "differs":
        return verdict
    alike = [v for v in verdicts if (v.model, v.figure) == (verdict.model, verdict.figure)]
    shapes = [v.dataset for v in alike if v.measured == verdict.published]
    key, hints = explanation(verdict.dataset, verdict.model, verdict.figure), [verdict.reason]
    if shapes and verdict.figure in ("size", "count"):
        hints.append(f"{verdict.published} is what the shape of {' and '.join(shapes)} has")
    if key:
        hints.append(f"contradiction {numbers[key]}")
    return replace(verdict, reason="; ".join(hints))
