"""Tables in LaTeX with booktabs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby

from harness.report.columns import COLUMNS, with_published
from harness.report.rows import Row
from harness.report.table import Column, Shown, Table
from harness.report.tables import Footnotes, row_notes

_SPECIAL = {
    "\\": r"\textbackslash{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",
    "…": r"\dots{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "÷": r"$\div$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
}
_TABLE = """\
% Made from results/records by cli/regenerate_results.py: what is changed here is lost.
% Needs \\usepackage{{booktabs}} and \\usepackage{{graphicx}}.
\\begin{{table}}
\\centering
\\caption{{{caption}}}
\\label{{tab:{label}}}
\\resizebox{{\\linewidth}}{{!}}{{%
{tabular}}}
\\par\\smallskip\\raggedright\\scriptsize
{notes}\\end{{table}}
"""


def escape(text: str) -> str:
    """Return text that LaTeX prints as it is."""
    return re.sub(".", lambda found: _SPECIAL.get(found[0], found[0]), text)


def render_latex(rows: Sequence[Row]) -> str:
    """Return a `table` of one data set's rows, the published figure beside each measured one."""
    dataset, footnotes = rows[0].dataset, Footnotes()
    published = any(row.published for row in rows)

    def title(row: Row) -> Shown:
        return Shown(text=row.title, marks=footnotes.mark(row_notes(row)).replace(" ", ","))

    columns: list[Column[Row]] = [c for c in COLUMNS if any(map(c.value, rows))]
    if published:
        # The columns with a published figure, and the true count beside thop's.
        chosen = [c for c in COLUMNS if c.published or c.name == "GMACs"]
        pairs = with_published(chosen, dash="–")
        columns = [c if c.name == "published" else replace(c, name="ours") for c in pairs]
    table = Table.of(rows, [Column(name="Model", get=title), *columns])
    notes = [
        rf"\textsuperscript{{{letter}}}~{escape(text)}.\quad" + "\n"
        for text, letter in footnotes.letters.items()
    ]
    return _TABLE.format(
        caption=escape(f"{dataset}: measured{' and published' if published else ''}; best in bold"),
        label=re.sub(r"[^a-zA-Z0-9]+", "-", dataset),
        tabular=tabular(table),
        notes="".join(notes),
    )


def tabular(table: Table) -> str:
    """Return a table as a `tabular`, the best figures in bold."""
    align = "".join("r" if column.right else "l" for column in table.columns)
    rows = [_line(map(_cell, cells)) for _, cells in table.rows()]
    parts = [rf"\begin{{tabular}}{{{align}}}", r"\toprule", *_head(table.columns), r"\midrule"]
    return "\n".join([*parts, *rows, r"\bottomrule", r"\end{tabular}"])


def _head(columns: Sequence[Column[Row]]) -> list[str]:
    """Return the header: with groups, their names, a rule under each, and the columns' names."""
    if not any(column.group for column in columns):
        return [_line(escape(column.header) for column in columns)]
    first, rules, second, place = [], [], [], 1
    for group, found in groupby(columns, key=lambda column: column.group):
        names = [escape(column.name) for column in found]
        last = place + len(names) - 1
        if last > place and group:
            first.append(rf"\multicolumn{{{len(names)}}}{{c}}{{{escape(group)}}}")
            rules.append(rf"\cmidrule(lr){{{place}-{last}}}")
        else:
            first += [escape(group)] if group else names
        second += names if group else [""] * len(names)
        place = last + 1
    return [_line(first), " ".join(rules), _line(second)]


def _line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _cell(shown: Shown) -> str:
    escaped = replace(shown, text=escape(shown.text), spread=escape(shown.spread))
    marks = rf"\textsuperscript{{{shown.marks}}}" if shown.marks else ""
    return escaped.join(r"\textbf{{{}}}") + marks
