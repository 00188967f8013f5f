"""Whether published latencies reproduce, as ratios to that of ResNet-50."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from harness.records.latency import LatencyRecord, LatencyRow, latency_place
from harness.reproduction.commands import gpu_latency_command, latency_command
from harness.reproduction.published import (
    REFERENCE,
    PublishedCell,
    PublishedConditions,
    published_ratio,
)
from harness.reproduction.verdict import Verdict, blank_verdict, nothing_measured

LATENCY_FACTOR = 1.25
"""Ratios of times taken in different processes drift by as much."""


def judge_latency(
    cell: PublishedCell,
    conditions: PublishedConditions,
    reference: PublishedCell | None,
    latencies: Sequence[LatencyRecord],
) -> Verdict:
    """Judge by the ratio to ResNet-50 in the same rounds, on the published kind of device.

    The published ratio is that of the two printed times. It is reproduced where the 95% interval of
    ours comes within a factor of `LATENCY_FACTOR` of it.

    Args:
        cell: What was published.
        conditions: The conditions that it was published for.
        reference: What was published of ResNet-50 in the same table.
        latencies: Comparisons of latencies on the data set.
    """
    ratio = published_ratio(cell, reference)
    verdict = blank_verdict(cell, "latency", "" if ratio is None else f"{ratio:.3g}")
    if ratio is None or cell.model == REFERENCE:
        return replace(verdict, reason="it is what the other times are divided by")
    found = latency_beside_reference(latencies, cell.model, conditions.device, trusted=True)
    if found is None:
        return _judge_without(verdict, conditions, latencies)
    comparison, row = found
    low, high = row.ratio_low or 0.0, row.ratio_high or 0.0
    measured = f"{row.ratio:.3g} ({low:.3g}–{high:.3g})"
    machine = comparison.machine
    place = latency_place(comparison.dataset, comparison.device, machine.threads)
    verdict = replace(verdict, measured=measured, evidence=place.as_posix())
    if row.image_size != conditions.image_size:
        size, wanted = row.image_size, conditions.image_size
        return replace(verdict, reason=f"timed at {size} px, published at {wanted}")
    near = low <= ratio * LATENCY_FACTOR and high >= ratio / LATENCY_FACTOR
    return replace(
        verdict,
        outcome="reproduced" if near else "differs",
        reason=f"{measured} × ResNet-50 on {machine.device_name}, {ratio:.3g} published: "
        f"{'within' if near else 'not within'} a factor of {LATENCY_FACTOR}",
    )


def latency_beside_reference(
    latencies: Iterable[LatencyRecord], model: str, device: str, *, trusted: bool = False
) -> tuple[LatencyRecord, LatencyRow] | None:
    """Return a model's row in the comparison with fewest threads that has one, in eager PyTorch.

    Args:
        latencies: Comparisons on one data set.
        model: The model's name.
        device: cpu or cuda.
        trusted: Whether comparisons that drifted, or were made on a busy machine, are left out.
    """
    for comparison in sorted(latencies, key=lambda each: each.machine.threads):
        if (comparison.device, comparison.reference) != (device, REFERENCE):
            continue
        if trusted and (comparison.drifted or comparison.machine.busy):
            continue
        for row in comparison.rows:
            if (row.model, row.runtime) == (model, "eager") and row.ratio is not None:
                return comparison, row
    return None


def _judge_without(
    verdict: Verdict, conditions: PublishedConditions, latencies: Sequence[LatencyRecord]
) -> Verdict:
    """Return the verdict where no comparison that can be trusted is of the published device."""
    for device in ("cuda", "cpu"):
        found = latency_beside_reference(latencies, verdict.model, device)
        if found is None:
            continue
        comparison, row = found
        ours, theirs = ("CPU", "GPU") if device == "cpu" else ("GPU", "CPU")
        why = f"timed on a {ours}, published on a {theirs}, where the ratio is another"
        if device == conditions.device:
            why = (
                f"timed while the reference {'drifted' if comparison.drifted else 'was disturbed'}"
            )
        return replace(verdict, measured=f"{row.ratio:.3g} ({device})", reason=why)
    on_gpu = conditions.device == "cuda"
    command = gpu_latency_command if on_gpu else latency_command
    return nothing_measured(verdict, f"not compared on a {'GPU' if on_gpu else 'CPU'}", command)
