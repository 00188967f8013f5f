"""Rows of the zoo in each form; as HTML a page with a scatter that can be filtered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from harness.profiling.columns import COLUMNS
from harness.profiling.request import Format
from harness.profiling.zoo_table import to_dicts
from harness.report.html import TEMPLATES, render_template
from harness.report.table import Column, Table, write_csv

if TYPE_CHECKING:
    import pandas as pd

_SHOWN_COSTS = (
    *("params", "gmacs", "activations", "traffic_mb", "intensity_flops_per_byte"),
    *("sequential_depth", "peak_activations_mb"),
)
_SHOWN: tuple[Column[Any], ...] = (
    Column(name="image, px", get="image_size", align="r"),
    *(column for name in _SHOWN_COSTS for column in COLUMNS if column.get == name),
    Column(name="published top-1, %", get="published_top1", digits=2),
    Column(name="of weights", get="published_weights"),
)
_LIKENESS = Column[Any](name="differs by a factor of", get="factor_from_like", digits=2)


def render_zoo(
    frame: pd.DataFrame,
    notes: Sequence[str],
    made: dict[str, str | int],
    form: Format,
    width: int | None = None,
) -> str:
    """Return rows of the zoo in one of the formats, with what was left out of them.

    `made` are the versions that the table was made with, `width` is that of the terminal; see
    `Table.text`.
    """
    if form == "csv":
        return write_csv(frame)
    rows = describe_rows(frame)
    lines = [describe_table(made), *notes]
    if form == "json":
        tree = {"versions": made, "notes": notes, "models": rows}
        return json.dumps(tree, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    if form == "html":
        return render_zoo_page(rows, lines)
    likeness = [_LIKENESS] if "factor_from_like" in frame else []
    table = Table.of(rows, [Column(name="", get="title"), *likeness, *_SHOWN])
    if form == "markdown":
        return "\n".join(f"- {line}" for line in lines) + f"\n\n{table.markdown()}"
    return "\n".join(lines) + f"\n\n{table.text(width)}\n"


def describe_table(made: dict[str, str | int]) -> str:
    """Return what the figures of the table are of."""
    versions = ", ".join(f"{name} {version}" for name, version in made.items())
    return (
        "one image of each model's own size, 1000 classes, fp32, complete accounting; accuracies "
        f"are those that the publishers of the weights state ({versions})"
    )


def describe_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return each row's figures by name, with None for what is not known, and its title."""
    return [
        {"title": f"{row['model']} ({row['form']})" if row["form"] else row["model"], **row}
        for row in to_dicts(frame)
    ]


def render_zoo_page(rows: list[dict[str, Any]], lines: list[str]) -> str:
    """Return the page: rows as points, by two figures that the reader chooses, and as a list."""
    from jinja2.utils import htmlsafe_json_dumps

    known = [row for row in rows if row["params"] is not None]
    figures: list[dict[str, Any]] = [
        {"field": column.get, "name": column.name, "scale": column.scale}
        for column in COLUMNS
        if known and isinstance(known[0].get(str(column.get)), int | float)
    ]
    figures.append({"field": "published_top1", "name": "published top-1, %", "scale": 1})
    fields = ["title", "source", "published_weights", *(each["field"] for each in figures)]
    points = [[row[field] for field in fields] for row in known]
    dumps = partial(json.dumps, allow_nan=False, separators=(",", ":"))
    data = htmlsafe_json_dumps({"figures": figures, "points": points}, dumps)
    script = (TEMPLATES / "zoo.js").read_text(encoding="utf-8")
    context = {"lines": lines, "data": data, "script": script}
    return render_template("zoo.html.jinja", context)
