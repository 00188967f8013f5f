"""A report as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from harness.profiling.plots import render_picture
from harness.profiling.report import Report, describe_counting, notes
from harness.profiling.roofline import Roof
from harness.profiling.tables import make_tables, ranking_lines, recommendation_lines
from harness.report.table import Table

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1a202c; margin: 2rem auto; max-width: 90rem;
  padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1rem 0; }
th, td { padding: .2rem .7rem; text-align: right; white-space: nowrap; }
th.words, td.words { text-align: left; }
thead th { border-bottom: 2px solid #1a202c; }
tbody tr:hover { background: #f1f5f9; }
tr.group th { text-align: left; padding-top: .8rem; border-bottom: 1px solid #cbd5e0; }
img { max-width: 100%; }
"""


def render_html(report: Report, roof: Roof, transpose: bool) -> str:
    """Return a page with the tables, the rankings and the picture of a report."""
    title = "Models compared without weights"
    parts = [f"<h1>{title}</h1>", _list(describe_counting(report.options))]
    parts += [_table(table) for table in make_tables(report, transpose)]
    for heading, lines in _sections(report):
        parts += [f"<h2>{heading}</h2>", _list(lines)] if lines else []
    if report.analyses:
        picture = base64.b64encode(render_picture(report, roof, "svg")).decode()
        source = f"data:image/svg+xml;base64,{picture}"
        parts.append(f'<img alt="Roofline, and size against operations" src="{source}">')
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _sections(report: Report) -> list[tuple[str, list[str]]]:
    found = report.recommendation
    return [
        ("Rankings", ranking_lines(report)),
        ("Recommendation", recommendation_lines(found) if found else []),
        ("Notes", notes(report)),
    ]


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _table(table: Table) -> str:
    title = f"<h2>{escape(table.title)}</h2>" if table.title else ""
    header = _row(table, [column.name for column in table.columns], "th")
    lines = [f'<div class="wide">{title}<table><thead>{header}</thead><tbody>']
    for heading, cells in table.rows():
        if heading:
            span = len(table.columns)
            lines.append(f'<tr class="group"><th colspan="{span}">{escape(heading)}</th></tr>')
        lines.append(_row(table, [each.text for each in cells], "td"))
    return "\n".join([*lines, "</tbody></table></div>"])


def _row(table: Table, cells: Sequence[str], tag: str) -> str:
    kinds = ("" if column.right else ' class="words"' for column in table.columns)
    pairs = zip(cells, kinds, strict=True)
    return (
        "<tr>" + "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for cell, kind in pairs) + "</tr>"
    )
