"""The empty cells of a published table, with the commands that fill them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.registry import model_files
from harness.report.rows import Row
from harness.reproduction.verdict import Command, cost_command, latency_command, run_command


def render_missing(rows: Sequence[Row]) -> str:
    """Return Markdown on what was not run of the models that were published; empty if nothing."""
    known = model_files()
    published = [row for row in rows if row.published is not None]
    there = [row for row in published if row.model in known]
    absent = ", ".join(row.title for row in published if row.model not in known)
    not_run = [row for row in there if row.record is None or row.record.status == "failed"]
    not_counted = [row for row in there if row.cost is None and row.record is None]
    not_compared = [
        row for row in there if row.latency is None and not (row.record and row.record.published)
    ]
    lines = [
        _describe("nothing measured", not_run, run_command),
        _describe("costs not counted", not_counted, cost_command),
        _describe(
            "latency not compared", not_compared, latency_command, _name_recipes(not_compared)
        ),
        f"- Not in this version: {absent}\n" if absent else "",
    ]
    return f"\nEmpty cells, and what would fill them:\n\n{''.join(lines)}" if any(lines) else ""


def _name_recipes(rows: Sequence[Row]) -> str:
    """Return the option with the recipes that the rows were run by, which their commands name."""
    recipes = {
        row.model: found[1]
        for row in rows
        if row.record and (found := re.search(r"--recipe ([\w-]+)", row.record.provenance.command))
    }
    named = ",".join(f"{model}={recipe}" for model, recipe in recipes.items())
    return f" --recipe {named}" if named else ""


def _describe(what: str, rows: Sequence[Row], command: Command, options: str = "") -> str:
    if not rows:
        return ""
    titles = ", ".join(dict.fromkeys(row.title for row in rows))
    models = dict.fromkeys(row.model for row in rows)
    return f"- {titles}: {what}: `{command(rows[0].dataset, models)}{options}`\n"
