"""Judges whether published latencies reproduce, as ratios to the latency of ResNet-50."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from harness.records.latency import LATENCIES, LatencyRecord, LatencyRow
from harness.reproduction.published import (
    REFERENCE,
    PublishedCell,
    PublishedConditions,
    published_conditions,
    published_ratio,
)
from harness.reproduction.verdict import (
    Verdict,
    blank_verdict,
    gpu_latency_command,
    latency_command,
    nothing_measured,
)

LATENCY_FACTOR = 1.25
"""Ratios of times taken in different processes drift by this factor."""
_KINDS = {"cuda": "GPU", "cpu": "CPU"}


def judge_latency(
    cell: PublishedCell,
    conditions: PublishedConditions,
    reference: PublishedCell | None,
    latencies: Sequence[LatencyRecord],
) -> Verdict:
    """Judge by the ratio to ResNet-50 in the same rounds, on the published kind of device.

    The published ratio is that of the two printed times. It is reproduced where the 95% interval of
    ours comes within a factor of `LATENCY_FACTOR` of it. `reference` is what was published of
    ResNet-50 in the same table. Where the two times are of different devices, there is no such
    ratio to judge.
    """
    ratio = published_ratio(cell, reference)
    verdict = blank_verdict(cell, "latency", "" if ratio is None else f"{ratio:.3g}")
    if ratio is None or cell.model == REFERENCE:
        return replace(verdict, reason="it is what the other times are divided by")
    theirs = published_conditions()[cell.dataset, REFERENCE].device
    if conditions.device != theirs:
        kind, other = _KINDS[conditions.device], _KINDS[theirs]
        reason = f"published of a {kind}, ResNet-50's of a {other}: no ratio of the two networks"
        return replace(verdict, reason=reason)
    found = latency_beside_reference(latencies, cell.model, conditions.device, trusted=True)
    if found is None:
        return _judge_without(verdict, conditions, latencies)
    comparison, row = found
    low, high = row.ratio_low or 0.0, row.ratio_high or 0.0
    measured = f"{row.ratio:.3g} ({low:.3g}–{high:.3g})"
    name, evidence = comparison.machine.device_name, LATENCIES.locate(comparison).as_posix()
    verdict = replace(verdict, measured=measured, evidence=evidence)
    if row.image_size != conditions.image_size:
        size, wanted = row.image_size, conditions.image_size
        return replace(verdict, reason=f"timed at {size} px, published at {wanted}")
    near = low <= ratio * LATENCY_FACTOR and high >= ratio / LATENCY_FACTOR
    return replace(
        verdict,
        outcome="reproduced" if near else "differs",
        reason=f"{measured} × ResNet-50 on {name}, {ratio:.3g} published: "
        f"{'within' if near else 'not within'} a factor of {LATENCY_FACTOR}",
    )


def latency_beside_reference(
    latencies: Iterable[LatencyRecord], model: str, device: str, *, trusted: bool = False
) -> tuple[LatencyRecord, LatencyRow] | None:
    """Return a model's row in the comparison with fewest threads that has one, in eager PyTorch.

    With `trusted`, comparisons that drifted or were made on a busy machine are left out. Where the
    published network is another than ours of that name, its row is not ours.
    """
    for comparison in sorted(latencies, key=lambda each: each.machine.threads):
        if (comparison.device, comparison.reference) != (device, REFERENCE):
            continue
        if trusted and (comparison.drifted or comparison.machine.busy):
            continue
        conditions = published_conditions().get((comparison.dataset, model))
        another = conditions is not None and conditions.own_network
        for row in comparison.rows:
            if another and row.weights_origin == "published":
                continue
            if (row.model, row.runtime) == (model, "eager") and row.ratio is not None:
                return comparison, row
    return None


def on_every_device(
    latencies: Sequence[LatencyRecord], model: str
) -> Iterator[tuple[LatencyRecord, LatencyRow]]:
    """Yield what `latency_beside_reference` finds of a model on a GPU, then on a CPU."""
    for device in _KINDS:
        found = latency_beside_reference(latencies, model, device)
        if found:
            yield found


def _judge_without(
    verdict: Verdict, conditions: PublishedConditions, latencies: Sequence[LatencyRecord]
) -> Verdict:
    """Return the verdict where no comparison that can be trusted is of the published device."""
    theirs = _KINDS[conditions.device]
    for comparison, row in on_every_device(latencies, verdict.model):
        ours = _KINDS[comparison.device]
        why = f"timed on a {ours}, published on a {theirs}, where the ratio is another"
        if ours == theirs:
            disturbed = "drifted" if comparison.drifted else "was disturbed"
            why = f"timed while the reference {disturbed}"
        return replace(verdict, measured=f"{row.ratio:.3g} ({comparison.device})", reason=why)
    command = gpu_latency_command if theirs == "GPU" else latency_command
    return nothing_measured(verdict, f"not compared on a {theirs}", command)
