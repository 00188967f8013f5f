"""Contradictions within a record: figures that cannot be true together, whatever was measured."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from operator import attrgetter

from harness.records.parts import Accuracy

percentiles_of = attrgetter(*(f"latency_ms_p{percent}" for percent in ("05", "50", "95", "99")))
"""Returns the percentiles of latencies, which ascend, of a part or row that has them."""
_FP32_CHECK = {"images", "accuracy_fp32", "changed"}


def check_accuracy(part: Accuracy) -> Iterator[str]:
    """Yield the contradictions between an accuracy, its interval and its confusion matrix."""
    if not ascend(part.accuracy_top1_low, part.accuracy_top1, part.accuracy_top1_high):
        yield "accuracy.accuracy_top1 is outside its interval"
    if not ascend(part.accuracy_top1, part.accuracy_top5):
        yield "accuracy.accuracy_top5 is below accuracy_top1"
    check, wanted = part.accuracy_fp32_check, _FP32_CHECK | {f"accuracy_{part.precision}"}
    if check and set(check) != wanted:
        yield f"accuracy.accuracy_fp32_check: {', '.join(sorted(wanted))} wanted"
    rows = part.confusion_matrix
    if not rows:
        return
    if {len(row) for row in rows} != {len(rows)}:
        yield "accuracy.confusion_matrix is not square"
        return
    right, total = sum(row[label] for label, row in enumerate(rows)), sum(map(sum, rows))
    if part.n_test not in (None, total) or total == 0:
        yield f"accuracy.confusion_matrix has {total} images, n_test is {part.n_test}"
    elif part.accuracy_top1 is not None and not _same(part.accuracy_top1, 100 * right / total):
        yield (
            f"accuracy.accuracy_top1 is {part.accuracy_top1}, confusion_matrix has {right} of "
            f"{total} right"
        )


def ascend(*figures: float | None) -> bool:
    """Whether figures ascend; those that are None are left out."""
    there = [figure for figure in figures if figure is not None]
    return all(a <= b or _same(a, b) for a, b in pairwise(there))


def _same(a: float, b: float) -> bool:
    """Whether two figures are the same up to rounding."""
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)
