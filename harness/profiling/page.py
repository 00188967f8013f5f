"""A report as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
from functools import partial

from harness.profiling.plots import plot_report
from harness.profiling.report import Report, describe_counting, notes
from harness.profiling.roofline import Roof
from harness.profiling.tables import make_tables, ranking_lines, recommendation_lines
from harness.report.canvas import render_figure
from harness.report.html import render_template


def render_html(report: Report, roof: Roof, transpose: bool) -> str:
    """Return a page with the tables, the rankings and the picture of a report."""
    found = report.recommendation
    picture = ""
    if report.analyses:
        (svg,) = render_figure(partial(plot_report, report, roof), ["svg"])
        picture = base64.b64encode(svg).decode()
    context = {
        "counting": describe_counting(report.options),
        "tables": make_tables(report, transpose),
        "sections": [
            ("Rankings", ranking_lines(report)),
            ("Recommendation", recommendation_lines(found) if found else []),
            ("Notes", notes(report)),
        ],
        "picture": picture,
    }
    return render_template("comparison.html.jinja", context)
