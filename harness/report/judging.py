"""Whether published accuracies and latencies reproduce, by which rule, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.records.cell import Record
from harness.records.latency import LatencyRecord
from harness.records.published import PublishedCell, PublishedConditions
from harness.registry import model_files
from harness.report.columns import published_ratio
from harness.report.missing import gpu_latency_command, latency_command, run_command
from harness.report.rows import REFERENCE, latency_beside_reference
from harness.report.statistics import compare_proportions

Outcome = Literal["reproduced", "differs", "cannot be judged"]
Figure = Literal["accuracy", "latency", "size", "count"]

LEVEL = 0.05
ACCURACY_MARGIN = 1.0
"""Percentage points: accuracies that are surely nearer than this are the same."""
LATENCY_FACTOR = 1.25
"""Ratios of times taken in different processes drift by as much."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of one published figure.

    Attributes:
        dataset: The data set's name.
        model: The model's name.
        label: The published name of its row.
        figure: Which of the row's figures.
        published: As printed; of latencies the ratio of what is printed.
        measured: Ours, in the same unit; None where nothing that compares was measured.
        outcome: The verdict.
        reason: Why.
        command: What would tell, where nothing was measured.
        evidence: The file below `results/` that it rests on; empty: none.
        p_different: Of the test of accuracies.
        p_equivalent: Likewise.
    """

    dataset: str
    model: str
    label: str
    figure: Figure
    published: str
    measured: str | None = None
    outcome: Outcome = "cannot be judged"
    reason: str = ""
    command: str = ""
    evidence: str = ""
    p_different: float | None = None
    p_equivalent: float | None = None


def judge_accuracy(
    cell: PublishedCell, conditions: PublishedConditions, records: Sequence[Record]
) -> Verdict:
    """Judge by a record on the official images, of published weights before trained ones.

    Equivalent within the margin (two one-sided tests): reproduced. Else different (two-proportion
    z-test): differs. Neither: there are too few images to tell.

    Args:
        cell: What was published.
        conditions: On what.
        records: Of the model on the data set.
    """
    verdict = blank_verdict(cell, "accuracy", cell.accuracy_top1)
    candidates = sorted(
        (r for r in records if not r.settings.repeat), key=lambda r: not r.published
    )
    if not candidates:
        return nothing_measured(verdict, "not run", run_command)
    reasons = [_not_comparable(record, conditions) for record in candidates]
    for record, reason in zip(candidates, reasons, strict=True):
        if not reason:
            return _test_accuracy(verdict, conditions, record)
    accuracy, reason = candidates[0].accuracy.accuracy_top1, reasons[0]
    return replace(verdict, measured=None if accuracy is None else f"{accuracy:.2f}", reason=reason)


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
        conditions: On what.
        reference: What was published of ResNet-50 in the same table.
        latencies: The comparisons on the data set.
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
    evidence = (
        f"latency/{comparison.dataset}-{comparison.device}-{comparison.machine.threads}t.json"
    )
    verdict = replace(verdict, measured=measured, evidence=evidence)
    if row.image_size != conditions.image_size:
        size, wanted = row.image_size, conditions.image_size
        return replace(verdict, reason=f"timed at {size} px, published at {wanted}")
    near = low <= ratio * LATENCY_FACTOR and high >= ratio / LATENCY_FACTOR
    return replace(
        verdict,
        outcome="reproduced" if near else "differs",
        reason=f"{measured} × ResNet-50 on {comparison.machine.device_name}, "
        f"{ratio:.3g} published: {'within' if near else 'not within'} a factor of {LATENCY_FACTOR}",
    )


def nothing_measured(
    verdict: Verdict, why: str, command: Callable[[str, Iterable[str]], str]
) -> Verdict:
    """Return a verdict with what would tell: a command, if this version has the model."""
    if verdict.model not in model_files():
        return replace(verdict, reason="this version has no such model")
    return replace(verdict, reason=why, command=command(verdict.dataset, [verdict.model]))


def blank_verdict(cell: PublishedCell, figure: Figure, published: str) -> Verdict:
    """Return a verdict that says nothing yet."""
    return Verdict(
        dataset=cell.dataset,
        model=cell.model,
        label=cell.label,
        figure=figure,
        published=published,
    )


def _not_comparable(record: Record, conditions: PublishedConditions) -> str:
    """Return why a record's accuracy cannot be held against the published one; empty if it can."""
    if record.status != "ok" or record.accuracy.accuracy_top1 is None:
        return f"{record.status}: {record.reason}"
    if record.weights.weights_origin not in ("trained", "published"):
        return f"{record.weights.weights_origin} weights, not trained on the data set"
    if not record.data.data_official:
        return f"measured on {record.data.data_name}, not on the official images"
    if record.settings.image_size != conditions.image_size:
        return f"measured at {record.settings.image_size} px, published at {conditions.image_size}"
    trained = record.weights.weights_origin == "trained"
    if trained and conditions.start and record.weights.start != conditions.start:
        return f"trained from {record.weights.start} weights, published from {conditions.start}"
    return ""


def _test_accuracy(verdict: Verdict, conditions: PublishedConditions, record: Record) -> Verdict:
    accuracy, images = record.accuracy.accuracy_top1 or 0.0, record.accuracy.n_test or 0
    test = compare_proportions(
        float(verdict.published) / 100,
        conditions.test_images,
        accuracy / 100,
        images,
        ACCURACY_MARGIN / 100,
    )
    near, far = test.p_equivalent < LEVEL, test.p_different < LEVEL
    points = f"{100 * test.difference:+.2f} points"
    if near:
        more = ", though more than chance" if far else ""
        reason = (
            f"{points} with {record.weights.weights_origin} weights: surely less than 1 point{more}"
        )
    elif far:
        reason = f"{points} with {record.weights.weights_origin} weights: more than chance"
    else:
        reason = f"{points}: {images} images are too few to tell whether that is a difference"
    return replace(
        verdict,
        measured=f"{accuracy:.2f}",
        outcome="reproduced" if near else "differs" if far else "cannot be judged",
        reason=f"{reason} (p {_p(test.p_different)} of a difference, "
        f"{_p(test.p_equivalent)} of equivalence)",
        evidence=f"records/{record.cell.dataset}/{record.stem}.json",
        p_different=test.p_different,
        p_equivalent=test.p_equivalent,
    )


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"= {value:.4f}"


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
