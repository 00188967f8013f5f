"""The empty cells of a published table, with the commands that would fill them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from harness.registry import model_files
from harness.report.rows import Row
from harness.reproduction.commands import cost_command, latency_command, run_command


def render_missing(rows: Sequence[Row]) -> str:
    """Return Markdown on what was not run of the models that were published; empty if nothing."""
    known = set(model_files())
    rows = [row for row in rows if row.published is not None]
    there = [row for row in rows if row.model in known]
    absent = [row.title for row in rows if row.model not in known]
    lines = [
        _line("nothing measured", there, _was_not_run, run_command),
        _line("costs not counted", there, _was_not_counted, cost_command),
        _line("latency not compared", there, _was_not_compared, latency_command),
    ]
    if absent:
        lines.append(f"- Not in this version: {', '.join(absent)}")
    wanted = [line for line in lines if line]
    return (
        "\n".join(["", "Empty cells, and what would fill them:", "", *wanted, ""]) if wanted else ""
    )


def _line(
    what: str,
    rows: Sequence[Row],
    lacks: Callable[[Row], bool],
    command: Callable[[str, Iterable[str]], str],
) -> str:
    models = list(dict.fromkeys(row.model for row in rows if lacks(row)))
    if not models:
        return ""
    titles = ", ".join(dict.fromkeys(row.title for row in rows if lacks(row)))
    return f"- {titles}: {what}: `{command(rows[0].dataset, models)}`"


def _was_not_run(row: Row) -> bool:
    return row.record is None or row.record.status == "failed"


def _was_not_counted(row: Row) -> bool:
    return row.cost is None and row.record is None


def _was_not_compared(row: Row) -> bool:
    return row.latency is None and not (row.record is not None and row.record.published)
