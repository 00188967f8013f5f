"""Judges whether published sizes and counts of operations reproduce."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.records.cell import CELLS, Record
from harness.records.cost import COSTS, CostPath, CostRecord
from harness.records.parts import Operations, PathCosts
from harness.reproduction.published import PublishedCell
from harness.reproduction.verdict import Verdict, blank_verdict, cost_command, nothing_measured

SIZE_TOLERANCE = 0.005


def judge_size(cell: PublishedCell, cost: CostRecord | None, record: Record | None) -> Verdict:
    """Judge the size of the weights' file: within 0.5%, or half a unit of the last printed digit.

    Costs and record are of the published shape. Where no costs were counted, the parameters and
    buffers of the record stand in for a file.
    """
    verdict = blank_verdict(cell, "size", cell.file_mb)
    if cost is not None:
        sizes, what = [path.file_mb for path in cost.paths] or [cost.file_mb], "file"
    elif record is not None and record.memory.weights_mb is not None:
        sizes = [path.weights_mb for path in record.paths] or [record.memory.weights_mb]
        what = "parameters and buffers"
    else:
        return nothing_measured(verdict, "not counted", cost_command)
    pairs = _beside(sizes, cell.file_mb)
    near = all(
        abs(size - float(text)) <= max(SIZE_TOLERANCE * float(text), 0.5 * 10.0 ** -_digits(text))
        for size, text in pairs
    )
    measured = "-".join(f"{size:.{max(2, _digits(text))}f}" for size, text in pairs)
    return replace(
        verdict,
        measured=measured,
        outcome="reproduced" if near else "differs",
        reason=f"{what} of {measured} MB, {cell.file_mb} published: "
        f"{'within' if near else 'not within'} 0.5%",
        evidence=_evidence(cost, record),
    )


def judge_count(cell: PublishedCell, cost: CostRecord | None, record: Record | None) -> Verdict:
    """Judge thop's count at the published shape: equal when rounded to the printed digits."""
    verdict = blank_verdict(cell, "count", cell.gmacs_thop)
    counted: Sequence[Operations | PathCosts | CostRecord | CostPath]
    if cost is not None:
        counted = cost.paths or [cost]
    elif record is not None:
        counted = record.paths or [record.operations]
    else:
        return nothing_measured(verdict, "not counted", cost_command)
    verdict = replace(verdict, evidence=_evidence(cost, record))
    counts = [each.gmacs_thop for each in counted if each.gmacs_thop is not None]
    if not counts:
        return replace(verdict, reason="thop does not count it")
    pairs = _beside(counts, cell.gmacs_thop)
    true = _beside([each.gmacs for each in counted if each.gmacs is not None], cell.gmacs_thop)
    gmacs = "-".join(f"{count:.4g}" for count, _ in true)
    rounded = "-".join(f"{count:.{_digits(text)}f}" for count, text in pairs)
    equal = rounded == cell.gmacs_thop
    return replace(
        verdict,
        measured=rounded,
        outcome="reproduced" if equal else "differs",
        reason=f"thop counts {'-'.join(f'{count:.4f}' for count, _ in pairs)}, {cell.gmacs_thop} "
        f"published: {'the same' if equal else 'not the same'} when rounded; "
        f"true: {f'{gmacs} GMACs' if true else 'not counted'}",
    )


def _digits(printed: str) -> int:
    """Return the number of digits behind the point of a printed number."""
    return len(printed.partition(".")[2])


def _beside(values: Sequence[float], printed: str) -> list[tuple[float, str]]:
    """Return the largest figure beside the printed one, or both ends beside a printed range."""
    if not values:
        return []
    ends = [min(values), max(values)] if "-" in printed else [max(values)]
    return list(zip(ends, printed.split("-"), strict=True))


def _evidence(cost: CostRecord | None, record: Record | None) -> str:
    if cost is not None:
        return COSTS.locate(cost).as_posix()
    return CELLS.locate(record).as_posix() if record else ""
