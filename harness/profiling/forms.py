"""A report in each of its formats: aligned text, Markdown, CSV, JSON and HTML."""

from __future__ import annotations

import base64
import dataclasses
import importlib.metadata
import json
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any

from harness.profiling.columns import COLUMNS, LAYER, MEASURED, STATED, TIMED
from harness.profiling.layers import Layer, sum_layers
from harness.profiling.metrics import Metrics
from harness.profiling.plots import plot_report
from harness.profiling.publishers import PUBLISHED
from harness.profiling.report import (
    MEASURED_HOW,
    Report,
    describe_counting,
    describe_models,
    notes,
)
from harness.profiling.request import Format, show_size
from harness.report.canvas import render_figure
from harness.report.html import render_template
from harness.report.table import Column, Table, write_csv

_LIBRARIES = ("torch", "torchvision", "timm", "transformers")
_COUNTING = ("accounting", "batch_size", "channels", "classes", "precision")
_METRICS = tuple(field.name for field in dataclasses.fields(Metrics))
_MOST_ACROSS = 6
_SCHEMA = 2
"""Of the JSON: raised when a field changes its meaning or its place."""
_MODEL = Column[Any](name="", get="title")
_IMAGE = Column[Any](name="image, px", get="image_size", align="r")
_TIMED = [replace(c, get=f"timed_{c.get}", group="on this machine") for c in TIMED]


def render(
    report: Report, form: Format, *, transpose: bool | None = None, width: int | None = None
) -> str:
    """Return a report in one of its formats.

    With `transpose`, models stand below each other, in a table for each group of metrics; None:
    where there are more than six. `width` is that of the terminal; see `Table.text`.
    """
    if form == "csv":
        return _csv(report)
    if form == "json":
        return _json(report)
    if transpose is None:
        transpose = len(report.rows) > _MOST_ACROSS
    tables = _make_tables(report, transpose)
    if form == "html":
        return _html(report, tables)
    texts, bullet = [table.text(width) for table in tables], ""
    if form == "markdown":
        titles = [f"**{table.title}**\n\n" if table.title else "" for table in tables]
        texts = [t + table.markdown().rstrip("\n") for t, table in zip(titles, tables, strict=True)]
        bullet = "- "
    lists = [describe_counting(report.options), *_closing(report).values()]
    first, *last = ["\n".join(f"{bullet}{line}" for line in lines) for lines in lists if lines]
    return "\n\n".join([first, *texts, *last]) + "\n"


def _make_tables(report: Report, transpose: bool) -> list[Table]:
    """Return the tables of models, then that of layers."""
    tables, models = [], describe_models(report)
    # Times need hardware.
    figures = [c for c in COLUMNS if report.options.roof or c.group != "roofline"]
    beside = [*(STATED if report.published else ()), *(_TIMED if report.timed else ())]
    if report.dataset:
        group = f"measured on {report.dataset}"
        beside += [replace(c, get=f"measured_{c.get}", group=group) for c in MEASURED]
    if report.analyses and transpose:
        for group, columns in groupby([*figures, *beside], key=lambda column: column.group):
            # Sizes stand beside the figures that they change.
            image = [_IMAGE] if any(column.group == group for column in figures) else []
            tables.append(Table.of(models, [_MODEL, *image, *columns], group))
    elif report.analyses:
        image_size = replace(_IMAGE, name="image size, px")
        tables.append(Table.of(models, [_MODEL, image_size, *figures, *beside]).transposed())
    if report.layers_of:
        size = show_size(report.layers_of.image_size)
        title = f"{report.layers_of.name} at {size} px, by module"
        shown = LAYER if report.options.roof else LAYER[:-2]
        tables.append(Table.of([*report.layers, _sum(report)], shown, title))
    return tables


def _sum(report: Report) -> Layer:
    """Return the layer that stands for all of the model whose layers are shown."""
    operators = report.layers_of.graph.operators if report.layers_of else ()
    return sum_layers(report.layers, operators, report.options.roof)


def _html(report: Report, tables: list[Table]) -> str:
    picture = ""
    if report.analyses:
        (svg,) = render_figure(partial(plot_report, report), ["svg"])
        picture = base64.b64encode(svg).decode()
    context = {
        "counting": describe_counting(report.options),
        "tables": tables,
        "sections": _closing(report).items(),
        "picture": picture,
    }
    return render_template("comparison.html.jinja", context)


def _closing(report: Report) -> dict[str, list[str]]:
    """Return what is said below the tables, by its heading."""
    ends = [f"{each.what}: {each.model} ({each.shown})" for each in report.extremes]
    rankings = [f"{low}; {high}" for low, high in zip(ends[::2], ends[1::2], strict=True)]
    recommendation: list[str] = []
    if found := report.recommendation:
        order = ", ".join(f"{name} {score:.4g} {found.unit}" for name, score in found.scores)
        recommendation = [
            f"recommended for {found.purpose}: {found.scores[0][0]}",
            f"minimised: {found.minimised}",
            f"why: {found.why}; accuracy is not known to it",
            f"order: {order}",
        ]
    return {"Rankings": rankings, "Recommendation": recommendation, "Notes": notes(report)}


def _json(report: Report) -> str:
    """Return everything; what could not be had is null, with the reason."""
    tree: dict[str, Any] = {
        "schema": _SCHEMA,
        "versions": {name: importlib.metadata.version(name) for name in _LIBRARIES},
        **_counting(report),
        "units": {str(column.get): _unit(column) for column in (*COLUMNS, *STATED[:-1])},
        "hardware": dataclasses.asdict(report.options.roof) if report.options.roof else None,
        "models": describe_models(report),
        "rankings": [dataclasses.asdict(each) for each in report.extremes],
    }
    if report.recommendation:
        tree["recommendation"] = dataclasses.asdict(report.recommendation)
    if report.layers_of:
        tree["layers_of"] = str(report.layers_of.name)
        tree["layers"] = [dataclasses.asdict(layer) for layer in report.layers]
        tree["layers_total"] = dataclasses.asdict(_sum(report))
    return json.dumps(tree, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _unit(column: Column[Any]) -> str:
    """Return the unit of a figure: that after the comma, or what is counted in single pieces."""
    name, _, unit = column.name.rpartition(", ")
    return unit if column.scale == 1 else name


def _csv(report: Report) -> str:
    """Return a line for each layer where layers were asked for, else for each model."""
    shared = _counting(report)
    if report.layers_of:
        shared = {"model": report.layers_of.name, **shared}
        return write_csv(shared | dataclasses.asdict(layer) for layer in report.layers)
    shared["hardware"] = report.options.roof.name if report.options.roof else None
    names = [*_METRICS, *(PUBLISHED if report.published else ())]
    names += [str(column.get) for column in _TIMED] if report.timed else []
    if report.dataset:
        names += [*(f"measured_{column.get}" for column in MEASURED), *MEASURED_HOW]
    head = ("model", "form", "image_size")
    return write_csv(
        {name: each[name] for name in head}
        | shared
        | {name: each[name] for name in (*names, "reason")}
        for each in describe_models(report)
    )


def _counting(report: Report) -> dict[str, Any]:
    return {name: getattr(report.options, name) for name in _COUNTING}
