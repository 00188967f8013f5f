"""Judges whether published accuracies reproduce, by tests of equivalence and difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from harness.records.cell import CELLS, Record
from harness.reproduction.published import PublishedCell, PublishedConditions
from harness.reproduction.verdict import Verdict, blank_verdict, nothing_measured, run_command

LEVEL = 0.05
ACCURACY_MARGIN = 1.0
"""Percentage points: accuracies that are surely nearer than this are the same."""


def judge_accuracy(
    cell: PublishedCell, conditions: PublishedConditions, records: Sequence[Record]
) -> Verdict:
    """Judge by a record on the official images, of published weights before trained ones.

    Equivalent within the margin (two one-sided tests): reproduced. Else different (two-proportion
    z-test): differs. Neither: there are too few images to tell. Where the published accuracy leaves
    out test images, any of them may have been classified rightly or wrongly: equivalence is tested
    against the farthest of the accuracies that leads to, difference against the nearest.
    """
    verdict = blank_verdict(cell, "accuracy", cell.accuracy_top1)
    first_runs = [record for record in records if not record.settings.repeat]
    candidates = sorted(first_runs, key=lambda record: not record.published)
    if not candidates:
        return nothing_measured(verdict, "not run", run_command)
    reasons = [_not_comparable(record, conditions) for record in candidates]
    for record, reason in zip(candidates, reasons, strict=True):
        if not reason:
            return _test_accuracy(verdict, conditions, record)
    accuracy, reason = candidates[0].accuracy.accuracy_top1, reasons[0]
    return replace(verdict, measured=None if accuracy is None else f"{accuracy:.2f}", reason=reason)


def compare_proportions(
    first: float, n_first: int, second: float, n_second: int, margin: float
) -> tuple[float, float]:
    """Return the p-values of a difference between two shares, and of their equivalence.

    They say how likely so large a difference is by chance, and how likely so small a one is where
    the true one is as large as the margin.

    Difference: the two-proportion z-test with the pooled variance p(1 − p)(1/n₁ + 1/n₂).
    Equivalence: Schuirmann (1987), Journal of Pharmacokinetics and Biopharmaceutics 15(6): two
    one-sided z-tests against −margin and +margin, variance p₁(1 − p₁)/n₁ + p₂(1 − p₂)/n₂.

    The shares are of `n_first` and `n_second` images; `margin` is a share, too.
    """
    difference = second - first
    pooled = (first * n_first + second * n_second) / (n_first + n_second)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n_first + 1 / n_second))
    z = difference / error if error else 0.0
    own = math.sqrt(first * (1 - first) / n_first + second * (1 - second) / n_second)
    nearest = margin - abs(difference)
    return 2 * _upper_tail(abs(z)), _upper_tail(nearest / own) if own else float(nearest <= 0)


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
    published, ours = float(verdict.published) / 100, accuracy / 100
    # The least and the largest share of all test images that the published one allows.
    low = published * conditions.evaluated_images / conditions.test_images
    high = low + 1 - conditions.evaluated_images / conditions.test_images
    (p_different, _), (_, p_equivalent) = (
        compare_proportions(theirs, conditions.test_images, ours, images, ACCURACY_MARGIN / 100)
        for theirs in (min(max(ours, low), high), low if ours - low > high - ours else high)
    )
    near, far = p_equivalent < LEVEL, p_different < LEVEL
    points = f"{100 * (ours - published):+.2f} points"
    with_weights = f"{points} with {record.weights.weights_origin} weights"
    if near:
        more = ", though more than chance" if far else ""
        reason = f"{with_weights}: surely less than 1 point{more}"
    elif far:
        reason = f"{with_weights}: more than chance"
    else:
        reason = f"{points}: {images} images are too few to tell whether that is a difference"
    return replace(
        verdict,
        measured=f"{accuracy:.2f}",
        outcome="reproduced" if near else "differs" if far else "cannot be judged",
        reason=f"{reason} (p {_p(p_different)} of a difference, {_p(p_equivalent)} of equivalence)",
        evidence=CELLS.locate(record).as_posix(),
        p_different=p_different,
        p_equivalent=p_equivalent,
    )


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"= {value:.4f}"


def _upper_tail(z: float) -> float:
    """Return the probability that a standard normal variable exceeds z."""
    return math.erfc(z / math.sqrt(2)) / 2
