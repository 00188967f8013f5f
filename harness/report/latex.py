"""A data set's table in LaTeX, with booktabs: the published columns, and the true count."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.report.columns import COLUMNS, Column, Shown, show_column, show_published
from harness.report.footnotes import Footnotes
from harness.report.rows import Row
from harness.report.tables import row_notes
from harness.reproduction.published import REFERENCE

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
_HEADER = """\
% Made from results/records by cli/regenerate_results.py: what is changed here is lost.
% Needs \\usepackage{{booktabs}} and \\usepackage{{graphicx}}.
\\begin{{table}}
\\centering
\\caption{{{caption}}}
\\label{{tab:{label}}}
\\resizebox{{\\linewidth}}{{!}}{{%
\\begin{{tabular}}{{{columns}}}
\\toprule"""
_FOOTER = """\
\\bottomrule
\\end{tabular}}
\\par\\smallskip\\raggedright\\scriptsize"""


def escape(text: str) -> str:
    """Return text that LaTeX prints as it is."""
    return re.sub(".", lambda found: _SPECIAL.get(found[0], found[0]), text)


def render_latex(rows: Sequence[Row]) -> str:
    """Return a `table` of one data set's rows, the published figure beside each measured one.

    Args:
        rows: At least one.
    """
    dataset = rows[0].dataset
    with_published = any(row.published for row in rows)
    columns = _columns(rows, with_published)
    footnotes = Footnotes()
    lines = [[_title(row, footnotes)] for row in rows]
    for column in columns:
        _add(column, rows, lines, with_published)
    caption = f"{dataset}: measured{' and published' if with_published else ''}; best in bold"
    label = re.sub(r"[^a-zA-Z0-9]+", "-", dataset)
    width = "l" + "".join("rr" if c.published and with_published else "r" for c in columns)
    header = _HEADER.format(caption=escape(caption), label=label, columns=width)
    body = [" & ".join(line) + r" \\" for line in lines]
    notes = [
        rf"\textsuperscript{{{letter}}}~{escape(text)}.\quad"
        for letter, text in footnotes.texts.items()
    ]
    parts = [header, *_head(columns, with_published), r"\midrule", *body, _FOOTER, *notes]
    return "\n".join([*parts, r"\end{table}", ""])


def _columns(rows: Sequence[Row], with_published: bool) -> list[Column]:
    if with_published:
        return [c for c in COLUMNS if c.published or c.name == "GMACs"]
    return [column for column in COLUMNS if any(map(column.show, rows))]


def _head(columns: Sequence[Column], with_published: bool) -> list[str]:
    """Return the header: names over pairs of columns, a rule under each, then which is which."""
    if not with_published:
        return [" & ".join(["Model", *(escape(c.header) for c in columns)]) + r" \\"]
    first, rules, second, place = ["Model"], [], [""], 2
    for column in columns:
        if column.published:
            first.append(rf"\multicolumn{{2}}{{c}}{{{escape(column.header)}}}")
            rules.append(rf"\cmidrule(lr){{{place}-{place + 1}}}")
            second += ["ours", "published"]
        else:
            first.append(escape(column.header))
            second.append("ours")
        place += 2 if column.published else 1
    return [" & ".join(first) + r" \\", " ".join(rules), " & ".join(second) + r" \\"]


def _title(row: Row, footnotes: Footnotes) -> str:
    marks = footnotes.mark(row_notes(row)).replace(" ", ",")
    return escape(row.title) + (rf"\textsuperscript{{{marks}}}" if marks else "")


def _add(
    column: Column, rows: Sequence[Row], lines: Sequence[list[str]], with_published: bool
) -> None:
    reference = next((row.published for row in rows if row.model == REFERENCE), None)
    for row, line, shown in zip(rows, lines, show_column(column, rows), strict=True):
        line.append("--" if shown is None else _cell(shown))
        if column.published and with_published:
            line.append(escape(show_published(column, row, reference).replace("-", "–")))


def _cell(shown: Shown) -> str:
    figure = escape(shown.figure)
    figure = rf"\textbf{{{figure}}}" if shown.best else figure
    return f"{figure} {escape(shown.spread)}" if shown.spread else figure
