"""Latencies that were compared side by side, as Markdown and CSV and on the terminal."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from harness.records.latency import LatencyRecord, LatencyRow

HEADER = (
    *("Model", "Runtime", "× reference (95%)", "By process"),
    *("p50 ms", "p05–p95 ms", "p99 ms", "Notes"),
)
_OF_RECORD = (
    *("dataset", "device", "device_name", "threads", "reference"),
    *("processes", "rounds", "drift", "busy"),
)
_OF_ROW = tuple(field.name for field in dataclasses.fields(LatencyRow))
_PIPE_WIDTH = 160


def render_latency(records: Sequence[LatencyRecord]) -> str:
    """Return a Markdown section on each comparison of one data set; empty without any."""
    return "".join(_section(record) for record in records)


def render_latency_csv(records: Sequence[LatencyRecord]) -> str:
    """Return every row of the comparisons of one data set as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*_OF_RECORD, *_OF_ROW])
    for record in records:
        fields = vars(record) | vars(record.machine)
        shared = [fields[name] for name in _OF_RECORD]
        writer.writerows([*shared, *_values(row)] for row in record.rows)
    return out.getvalue()


def _values(row: LatencyRow) -> list[object]:
    """Return a row's fields as CSV holds them; several ratios are one cell."""
    ratios = " ".join(map(str, row.ratio_by_process))
    return [ratios if name == "ratio_by_process" else getattr(row, name) for name in _OF_ROW]


def print_latency(records: Sequence[LatencyRecord]) -> None:
    """Print each comparison as a table."""
    # Brackets and colons in a reason are no markup.
    console = Console(markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    for record in records:
        table = Table(
            title=f"{record.dataset}: {describe_comparison(record)}", title_justify="left"
        )
        for name in HEADER:
            left = name in ("Model", "Runtime", "Notes")
            table.add_column(name, justify="left" if left else "right")
        for row in comparison_rows(record):
            table.add_row(*row)
        console.print(table)


def _section(record: LatencyRecord) -> str:
    align = [":---", ":---"] + ["---:"] * (len(HEADER) - 3) + [":---"]
    rows = [[cell.replace("|", r"\|") for cell in row] for row in comparison_rows(record)]
    lines = ["| " + " | ".join(cells) + " |" for cells in (HEADER, align, *rows)]
    title = f"\n## Latency side by side, {describe_device(record)}\n\n"
    return title + "\n".join(lines) + f"\n\n{describe_comparison(record)}.\n"


def describe_device(record: LatencyRecord) -> str:
    """Return what a comparison was made on, in a word or two."""
    if record.device == "cuda":
        return record.machine.device_name
    return f"{record.machine.threads} CPU thread{'s' if record.machine.threads > 1 else ''}"


def describe_comparison(record: LatencyRecord) -> str:
    """Return what was compared with what, where, and how far it can be trusted."""
    processes = f"{record.processes} process{'es' if record.processes > 1 else ''}"
    parts = [
        f"{record.rounds} rounds in {processes} on {record.machine.device_name}, "
        f"{describe_device(record)}"
        f"{_describe_cores(record)}",
        f"reference {record.reference} in {record.reference_runtime}, which drifted by "
        f"{record.drift:.1%}{' (too much)' if record.drifted else ''}",
    ]
    return "; ".join(
        [*parts, f"busy machine: {record.machine.busy}"] if record.machine.busy else parts
    )


def _describe_cores(record: LatencyRecord) -> str:
    cores, threads = record.machine.cores, record.machine.threads
    if not cores:
        return ""
    # Each process takes the idlest, which need not be those of the one before.
    some = f"{threads} of " if len(cores) > threads else ""
    return f", pinned to {some}core{'s' if len(cores) > 1 else ''} {', '.join(map(str, cores))}"


def comparison_rows(record: LatencyRecord) -> list[list[str]]:
    """Return the cells of the table of a comparison, below its `HEADER`, the fastest first."""
    return [_cells(row) for row in _sorted(record)]


def _sorted(record: LatencyRecord) -> list[LatencyRow]:
    """Return the rows, fastest first; those that were not timed last."""
    return sorted(record.rows, key=lambda row: (row.ratio is None, row.ratio or 0, row.model))


def _cells(row: LatencyRow) -> list[str]:
    if row.ratio is None:
        return [row.label, row.runtime, *["–"] * (len(HEADER) - 3), f"not timed: {row.reason}"]
    ratios = row.ratio_by_process
    return [
        row.label,
        row.runtime,
        f"{row.ratio:.3g} ({row.ratio_low:.3g}–{row.ratio_high:.3g})",
        f"{min(ratios):.3g}–{max(ratios):.3g}" if len(ratios) > 1 else "–",
        f"{row.latency_ms_p50:.2f}",
        f"{row.latency_ms_p05:.2f}–{row.latency_ms_p95:.2f}",
        f"{row.latency_ms_p99:.2f}",
        f"{row.weights_origin} weights",
    ]
