"""Whether published sizes and counts reproduce, by which rule, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.records.cell import Record
from harness.records.cost import CostPath, CostRecord, cost_place
from harness.records.parts import Operations, PathCosts
from harness.reproduction.commands import cost_command
from harness.reproduction.published import PublishedCell
from harness.reproduction.verdict import Verdict, blank_verdict, nothing_measured

SIZE_TOLERANCE = 0.005


def judge_size(cell: PublishedCell, cost: CostRecord | None, record: Record | None) -> Verdict:
    """Judge the size of the weights' file: within 0.5%, or half a unit of the last printed digit.

    Args:
        cell: What was published.
        cost: What was counted at the published shape, if anything.
        record: The cell's record at the published shape, whose weights stand in for a file.
    """
    verdict = blank_verdict(cell, "size", cell.file_mb)
    if cost is not None:
        parts = [path.file_mb for path in cost.paths] or [cost.file_mb]
        what = "file"
    elif record is not None and record.memory.weights_mb is not None:
        parts = [path.weights_mb for path in record.paths] or [record.memory.weights_mb]
        what = "parameters and buffers"
    else:
        return nothing_measured(verdict, "not counted", cost_command)
    ours, printed = _ends(parts, cell.file_mb), cell.file_mb.split("-")
    near = all(
        abs(value - float(text)) <= max(SIZE_TOLERANCE * float(text), _half_unit(text))
        for value, text in zip(ours, printed, strict=True)
    )
    measured = "-".join(f"{v:.{max(2, _digits(t))}f}" for v, t in zip(ours, printed, strict=True))
    word = "within" if near else "not within"
    return replace(
        verdict,
        measured=measured,
        outcome="reproduced" if near else "differs",
        reason=f"{what} of {measured} MB, {cell.file_mb} published: {word} 0.5%",
        evidence=_evidence(cost, record),
    )


def judge_count(cell: PublishedCell, cost: CostRecord | None, record: Record | None) -> Verdict:
    """Judge thop's count: equal when rounded to the printed digits.

    Args:
        cell: What was published.
        cost: What was counted at the published shape, if anything.
        record: The cell's record at the published shape.
    """
    verdict = blank_verdict(cell, "count", cell.gmacs_thop)
    counted: Sequence[Operations | PathCosts | CostRecord | CostPath]
    if cost is not None:
        counted = cost.paths or [cost]
    elif record is not None:
        counted = record.paths or [record.operations]
    else:
        return nothing_measured(verdict, "not counted", cost_command)
    counts = [each.gmacs_thop for each in counted if each.gmacs_thop is not None]
    true = [each.gmacs for each in counted if each.gmacs is not None]
    if not counts:
        evidence = _evidence(cost, record)
        return replace(verdict, reason="thop does not count it", evidence=evidence)
    ours, printed = _ends(counts, cell.gmacs_thop), cell.gmacs_thop.split("-")
    rounded = [f"{v:.{_digits(text)}f}" for v, text in zip(ours, printed, strict=True)]
    equal = rounded == printed
    exact = "-".join(f"{value:.4f}" for value in ours)
    return replace(
        verdict,
        measured="-".join(rounded),
        outcome="reproduced" if equal else "differs",
        reason=f"thop counts {exact}, {cell.gmacs_thop} published: "
        f"{'the same' if equal else 'not the same'} when rounded; "
        f"true: {'-'.join(f'{value:.4g}' for value in _ends(true, cell.gmacs_thop))} GMACs",
        evidence=_evidence(cost, record),
    )


def _digits(printed: str) -> int:
    """Return the number of digits behind the point of a printed number."""
    return len(printed.partition(".")[2])


def _half_unit(printed: str) -> float:
    """Return half a unit of the last digit of a printed number."""
    return 0.5 * 10.0 ** -_digits(printed)


def _ends(values: Sequence[float], printed: str) -> list[float]:
    """Return the smallest and the largest of some figures where a range was printed."""
    return [min(values), max(values)] if "-" in printed else [max(values)]


def _evidence(cost: CostRecord | None, record: Record | None) -> str:
    """Return the file below the results folder that a verdict rests on."""
    if cost is not None:
        return cost_place(cost.dataset, cost.model, cost.image_size).as_posix()
    return f"records/{record.cell.dataset}/{record.stem}.json" if record else ""
