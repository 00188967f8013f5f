"""Comparisons of latencies, as Markdown and CSV and on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.records.latency import LatencyRecord, LatencyRow
from harness.report.table import Column, Table, write_csv
from harness.report.terminal import print_table


def _timed(row: LatencyRow, pattern: str) -> str | None:
    return None if row.ratio is None else pattern.format(row)


def _by_process(row: LatencyRow) -> str | None:
    ratios = row.ratio_by_process
    return f"{min(ratios):.3g}–{max(ratios):.3g}" if len(ratios) > 1 else None


def _note(row: LatencyRow) -> str:
    return f"not timed: {row.reason}" if row.ratio is None else f"{row.weights_origin} weights"


COLUMNS: tuple[Column[LatencyRow], ...] = (
    Column(name="Model", get="label"),
    Column(name="Runtime", get="runtime"),
    Column(
        name="× reference (95%)",
        get=lambda row: _timed(row, "{0.ratio:.3g} ({0.ratio_low:.3g}–{0.ratio_high:.3g})"),
        align="r",
    ),
    Column(name="By process", get=_by_process, align="r"),
    Column(name="p50 ms", get="latency_ms_p50", digits=2),
    Column(
        name="p05–p95 ms",
        get=lambda row: _timed(row, "{0.latency_ms_p05:.2f}–{0.latency_ms_p95:.2f}"),
        align="r",
    ),
    Column(name="p99 ms", get="latency_ms_p99", digits=2),
    Column(name="Notes", get=_note),
)
_OF_RECORD = (
    *("dataset", "device", "device_name", "threads", "reference"),
    *("processes", "rounds", "drift", "busy"),
)


def render_latency(records: Sequence[LatencyRecord]) -> str:
    """Return a Markdown section on each comparison of one data set; empty without any."""
    return "".join(
        f"\n## Latency side by side, {describe_device(record)}\n\n"
        f"{latency_table(record).markdown()}\n{describe_comparison(record)}.\n"
        for record in records
    )


def render_latency_csv(records: Sequence[LatencyRecord]) -> str:
    """Return every row of the comparisons of one data set as CSV; several ratios are one cell."""
    return write_csv(
        {
            **{name: (vars(record) | vars(record.machine))[name] for name in _OF_RECORD},
            **vars(row),
            "ratio_by_process": " ".join(map(str, row.ratio_by_process)),
        }
        for record in records
        for row in record.rows
    )


def print_latency(records: Sequence[LatencyRecord]) -> None:
    """Print each comparison as a table."""
    for record in records:
        title = f"{record.dataset}: {describe_comparison(record)}"
        print_table(replace(latency_table(record), title=title))


def latency_table(record: LatencyRecord) -> Table:
    """Return the rows of a comparison, the fastest first; those that were not timed last."""
    rows = sorted(record.rows, key=lambda row: (row.ratio is None, row.ratio or 0, row.model))
    return Table.of(rows, COLUMNS)


def describe_device(record: LatencyRecord) -> str:
    """Return the GPU or the number of CPU threads of a comparison."""
    if record.device == "cuda":
        return record.machine.device_name
    return f"{record.machine.threads} CPU thread{'s' if record.machine.threads > 1 else ''}"


def describe_comparison(record: LatencyRecord) -> str:
    """Return how and where a comparison was made, and how far it can be trusted."""
    processes = f"{record.processes} process{'es' if record.processes > 1 else ''}"
    parts = [
        f"{record.rounds} rounds in {processes} on {record.machine.device_name}, "
        f"{describe_device(record)}{_describe_cores(record)}",
        f"reference {record.reference} in {record.reference_runtime}, which drifted by "
        f"{record.drift:.1%}{' (too much)' if record.drifted else ''}",
    ]
    if record.machine.busy:
        parts.append(f"busy machine: {record.machine.busy}")
    return "; ".join(parts)


def _describe_cores(record: LatencyRecord) -> str:
    cores, threads = record.machine.cores, record.machine.threads
    if not cores:
        return ""
    # Each process takes the idlest, which need not be those of the one before.
    some = f"{threads} of " if len(cores) > threads else ""
    return f", pinned to {some}core{'s' if len(cores) > 1 else ''} {', '.join(map(str, cores))}"
