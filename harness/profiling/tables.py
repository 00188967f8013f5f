"""A report as aligned text or Markdown; both are made of the same tables."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import Any

from harness.profiling.columns import COLUMNS, LAYER, MEASURED
from harness.profiling.ranking import Recommendation
from harness.profiling.report import Report, describe_counting, describe_models, notes
from harness.report.table import Column, Table

_MODEL = Column[Any](name="", get="model")
_IMAGE = Column[Any](name="image, px", get="image_size", align="r")


def render_table(report: Report, transpose: bool, width: int | None = None) -> str:
    """Return aligned text.

    Args:
        report: What to show.
        transpose: Models down and metrics across, a table for each group of metrics.
        width: Of the terminal: columns that do not fit go into another table; None: no limit.
    """
    parts = ["\n".join(describe_counting(report.options))]
    parts += [table.text(width) for table in make_tables(report, transpose)]
    return "\n\n".join([*parts, *_closing(report)]) + "\n"


def render_markdown(report: Report, transpose: bool) -> str:
    """Return Markdown."""
    parts = ["\n".join(f"- {line}" for line in describe_counting(report.options))]
    for table in make_tables(report, transpose):
        title = f"**{table.title}**\n\n" if table.title else ""
        parts.append(title + table.markdown().rstrip("\n"))
    return "\n\n".join([*parts, *_closing(report, bullet="- ")]) + "\n"


def make_tables(report: Report, transpose: bool) -> list[Table]:
    """Return the tables of a report, of models first, then of layers.

    Models stand side by side in one table, or below each other in one for each group of figures.
    """
    tables, models = [], describe_models(report)
    if report.analyses and transpose:
        for group, columns in groupby(_columns(report), key=lambda column: column.group):
            image = [] if group == _measured_on(report) else [_IMAGE]
            tables.append(Table.of(models, [_MODEL, *image, *columns], group))
    elif report.analyses:
        image_size = replace(_IMAGE, name="image size, px")
        tables.append(Table.of(models, [_MODEL, image_size, *_columns(report)]).transposed())
    return [*tables, _layer_table(report)] if report.layers_of else tables


def ranking_lines(report: Report) -> list[str]:
    """Return the two ends of each ranking, a line each."""
    pairs = zip(report.extremes[::2], report.extremes[1::2], strict=True)
    return [
        "; ".join(f"{each.what}: {each.model} ({each.shown})" for each in pair) for pair in pairs
    ]


def recommendation_lines(found: Recommendation) -> list[str]:
    """Return which model is recommended, what was minimised and why, and all scores."""
    best, _ = found.scores[0]
    order = ", ".join(f"{name} {score:.4g} {found.unit}" for name, score in found.scores)
    return [
        f"recommended for {found.purpose}: {best}",
        f"minimised: {found.minimised}",
        f"why: {found.why}; accuracy is not known to it",
        f"order: {order}",
    ]


def _layer_table(report: Report) -> Table:
    analysis, timed = report.layers_of, report.options.roof is not None
    title = f"{analysis.name} at {analysis.image_size} px, by module" if analysis else ""
    return Table.of(report.layers, LAYER if timed else LAYER[:-2], title)


def _columns(report: Report) -> list[Column[Any]]:
    """Return the figures of models, times where there is hardware, and what was measured."""
    columns = [c for c in COLUMNS if report.options.roof or c.group != "roofline"]
    if report.dataset:
        group = _measured_on(report)
        columns += [replace(c, get=f"measured_{c.get}", group=group) for c in MEASURED]
    return columns


def _measured_on(report: Report) -> str:
    return f"measured on {report.dataset}"


def _closing(report: Report, bullet: str = "") -> list[str]:
    """Return the paragraphs below the tables."""
    parts = [ranking_lines(report)]
    if report.recommendation:
        parts.append(recommendation_lines(report.recommendation))
    parts.append(notes(report))
    return ["\n".join(f"{bullet}{line}" for line in lines) for lines in parts if lines]
