"""Contradictions within a record: figures that cannot be true together, whatever was measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.records.cell import Record
    from harness.records.latency import LatencyRecord, LatencyRow
    from harness.records.parts import Accuracy, Latency

_FP32_CHECK = {"images", "accuracy_fp32", "changed"}


def check_cell(record: Record) -> Iterator[str]:
    """Yield the contradictions in the record of a cell."""
    yield from _check_accuracy(record.accuracy)
    yield from _check_percentiles(record.latency)
    for name in ("training", "evaluation", "measurement"):
        if not isinstance(record.settings.settings.get(name, {}), Mapping):
            yield f"settings.settings.{name} is no section"
    operations, epochs, logged = record.operations, record.weights.epochs, record.weights.history
    if not _ascend(operations.params_trainable, operations.params):
        yield "operations.params_trainable is above params"
    if logged and len(logged) != epochs:
        yield f"weights.epochs is {epochs}, weights.history has {len(logged)}"
    found = record.compression
    if found is not None:
        ratio, low = found.latency_ratio_to_base, found.latency_ratio_to_base_low
        if not _ascend(low, ratio, found.latency_ratio_to_base_high):
            yield "compression.latency_ratio_to_base is outside its interval"
    if not isinstance(record.provenance.environment.get("libraries", {}), Mapping):
        yield "provenance.environment.libraries are not by name"
    if record.status == "ok":
        yield from _check_whole(record)


def check_comparison(record: LatencyRecord) -> Iterator[str]:
    """Yield the contradictions in a comparison of latencies."""
    names = [row.name for row in record.rows]
    if len(set(names)) < len(names):
        yield "rows: a model stands twice in a runtime"
    for row in record.rows:
        yield from _check_percentiles(row)
        figures = (row.ratio_low, row.ratio, row.ratio_high, row.latency_ms_p05, row.latency_ms_p50)
        missing = [figure is None for figure in (*figures, row.latency_ms_p95, row.latency_ms_p99)]
        if any(missing) and not all(missing):
            yield f"rows: {row.name}: a latency or ratio is missing"
        if not _ascend(row.ratio_low, row.ratio, row.ratio_high):
            yield f"rows: {row.name}: ratio is outside its interval"
        if len(row.ratio_by_process) not in (0, record.processes):
            yield f"rows: {row.name}: ratio_by_process is not of {record.processes} processes"


def _check_whole(record: Record) -> Iterator[str]:
    """Yield what contradicts itself, or lacks, in the record of a cell that is ok."""
    if not record.settings.settings:
        yield "settings.settings are empty"
    classes, rows = record.data.classes, len(record.accuracy.confusion_matrix)
    if rows not in (0, len(classes)):
        yield f"data.classes are {len(classes)}, accuracy.confusion_matrix has {rows} rows"
    if len(set(classes)) < len(classes):
        yield "data.classes: a name stands twice"


def _check_accuracy(part: Accuracy) -> Iterator[str]:
    if not _ascend(part.accuracy_top1_low, part.accuracy_top1, part.accuracy_top1_high):
        yield "accuracy.accuracy_top1 is outside its interval"
    if not _ascend(part.accuracy_top1, part.accuracy_top5):
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


def _check_percentiles(part: Latency | LatencyRow) -> Iterator[str]:
    percentiles = (part.latency_ms_p05, part.latency_ms_p50, part.latency_ms_p95)
    if not _ascend(*percentiles, part.latency_ms_p99):
        yield "latency_ms_p05, p50, p95 and p99 do not ascend"


def _ascend(*figures: float | None) -> bool:
    """Whether figures ascend; those that are None are left out."""
    there = [figure for figure in figures if figure is not None]
    return all(a <= b or _same(a, b) for a, b in pairwise(there))


def _same(a: float, b: float) -> bool:
    """Whether two figures are the same up to rounding."""
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)
