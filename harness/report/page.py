"""The page `results/index.html`, which shows all cells and needs no network and no server."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from harness.records.material import Material
from harness.report.figures import roofline_stem
from harness.report.html import TEMPLATES, render_template
from harness.report.page_data import (
    COLUMNS,
    DATE,
    FACETS,
    describe_cells,
    describe_details,
    describe_sources,
    finite,
)
from harness.report.page_sections import (
    PageTable,
    Picture,
    Section,
    first_sections,
    last_sections,
    ranking_sections,
    tuning_sections,
)
from harness.report.points import COSTS
from harness.report.ranking import SameImages
from harness.report.roofline import read_rooflines
from harness.report.table import Table
from harness.reproduction.judging import Reproduction
from harness.util.files import read_csv

_SCRIPTS = ("base.js", "table.js", "panel.js", "figures.js")
_START = "startTable();\nstartPanel();\nstartFigures();\n"
_ZOO = "zoo/index.html"
# plotly.js with its scatter plots alone: see assets/README.md.
PLOTLY = Path(__file__).parent / "assets" / "plotly-basic.min.js"


def render_page_files(
    results: Path,
    material: Material,
    reproduction: Reproduction,
    compared: Mapping[str, Sequence[SameImages]],
) -> dict[Path, str]:
    """Return the page and the files that it needs, by their paths below the results folder."""
    page = render_page(
        material,
        first=first_sections(reproduction),
        last=[
            *_roofline_sections(results, material),
            *ranking_sections(material, compared),
            *tuning_sections(material),
            *last_sections(material),
            *tree_sections(results),
        ],
        zoo=_ZOO if (results / _ZOO).exists() else "",
    )
    licence = PLOTLY.with_name("plotly-basic.LICENSE")
    return {Path("index.html"): page} | {
        Path("assets") / path.name: path.read_text(encoding="utf-8") for path in (PLOTLY, licence)
    }


def render_page(
    material: Material,
    *,
    first: Sequence[Section] = (),
    last: Sequence[Section] = (),
    zoo: str = "",
) -> str:
    """Return the page of all records, as HTML.

    The sections `first` come before the table of all cells, those of `last` after the figures;
    `zoo` is the address of the page of the zoo, if there is one.
    """
    records = material.records
    cells = describe_cells(records)
    settings, blocks = describe_details(records)
    contents = [
        *((section.title, section.anchor, True) for section in first),
        ("All cells", "cells", True),
        ("Accuracy against cost", "figures", cells["figures"]),
        *((section.title, section.anchor, True) for section in last),
    ]
    latest = max((record.provenance.started for record in records), default="")
    context = {
        "counts": {
            "cells": len(records),
            "datasets": len({record.cell.dataset for record in records}),
            "latest": latest[:DATE],
        },
        "contents": [(title, anchor) for title, anchor, is_there in contents if is_there],
        "first": first,
        "last": last,
        "zoo": zoo,
        "columns": COLUMNS,
        "facets": FACETS,
        "figures": list(cells["figures"]),
        "costs": COSTS,
        "meanings": cells["meanings"],
        "data": _json(cells | {"plotly": f"assets/{PLOTLY.name}"}),
        "sources": _json(describe_sources(material)),
        "settings": _json_lines(settings),
        "blocks": map(_json_lines, blocks),
    }
    return render_template("index.html.jinja", _own_script() | context)


def tree_sections(results: Path) -> list[Section]:
    """Return a section of the pictures (of SVG and PNG, SVG) and tables in `trees/`, if any."""
    folder = results / "trees"
    pictures = {path.stem: path for kind in ("png", "svg") for path in folder.glob(f"*.{kind}")}
    section = Section(
        anchor="trees",
        title="TRUNK's trees",
        tables=[
            PageTable(
                table=Table.of_texts([*rows[0]], [[*row.values()] for row in rows]),
                title=_words(path),
                folded=True,
            )
            for path in sorted(folder.glob("*.csv"))
            if (rows := read_csv(path))
        ],
        pictures=[
            Picture(source=f"trees/{path.name}", words=_words(path))
            for _, path in sorted(pictures.items())
        ],
    )
    return [section] if section.tables or section.pictures else []


def _words(path: Path) -> str:
    return path.stem.replace("-", " ")


def _roofline_sections(results: Path, material: Material) -> list[Section]:
    pictures = [
        Picture(
            source=roofline_stem(each).with_suffix(".svg").as_posix(),
            words=f"{each.name}: latency predicted by the roofline of {each.hardware}, and "
            "measured",
        )
        for each in read_rooflines(results, material.records)
    ]
    section = Section(anchor="rooflines", title="Predicted latency", pictures=pictures)
    return [section] if pictures else []


def _own_script() -> dict[str, str]:
    """Return the script of the page, which is the project's own, and its digest."""
    parts = [(TEMPLATES / name).read_text(encoding="utf-8") for name in _SCRIPTS]
    script = f'"use strict";\n(() => {{\n{"".join(parts)}{_START}}})();\n'
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {"script": script, "script_digest": digest}


def _json(tree: object) -> str:
    """Return JSON that cannot end the script element it stands in, whatever texts it holds."""
    from jinja2.utils import htmlsafe_json_dumps

    dumps = partial(json.dumps, allow_nan=False, separators=(",", ":"))
    try:
        return htmlsafe_json_dumps(tree, dumps)
    except ValueError:
        return htmlsafe_json_dumps(finite(tree), dumps)


def _json_lines(trees: Sequence[object]) -> str:
    """Return a list, an entry a line, so that one changed record is one changed line."""
    lines = ",\n".join(map(_json, trees))
    return f"[\n{lines}\n]"
