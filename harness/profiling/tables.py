"""A report as aligned text or Markdown; both are made of the same grids of cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from harness.profiling.analysis import Analysis, Row
from harness.profiling.columns import ABSENT, COLUMNS, Column, show_number
from harness.profiling.ranking import Recommendation
from harness.profiling.report import MEASURED, Report, describe_counting, notes
from harness.records.cell import Record

_GAP = "  "


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Cells with a header; a row of one cell is a heading.

    Attributes:
        title: Above it; may be empty.
        header: Of each column.
        rows: The cells.
        words: How many of the first columns hold words, which begin at the same place.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1


def render_table(report: Report, transpose: bool, width: int | None = None) -> str:
    """Return aligned text.

    Args:
        report: What to show.
        transpose: Models down and metrics across, a table for each group of metrics.
        width: Of the terminal: columns that do not fit go into another table; None: no limit.
    """
    grids = [part for grid in make_grids(report, transpose) for part in _split(grid, width)]
    parts = ["\n".join(describe_counting(report.options))]
    parts += [_aligned(grid) for grid in grids]
    return "\n\n".join([*parts, *_closing(report)]) + "\n"


def render_markdown(report: Report, transpose: bool) -> str:
    """Return Markdown."""
    parts = ["\n".join(f"- {line}" for line in describe_counting(report.options))]
    parts += [_markdown(grid) for grid in make_grids(report, transpose)]
    return "\n\n".join([*parts, *_closing(report, bullet="- ")]) + "\n"


def make_grids(report: Report, transpose: bool) -> list[Grid]:
    """Return the tables of a report, of models first, then of layers."""
    grids = []
    if report.analyses:
        grids = _by_group(report) if transpose else [_by_metric(report)]
    return [*grids, layer_grid(report)] if report.layers_of else grids


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


def layer_grid(report: Report) -> Grid:
    """Return the layers of a model."""
    header = ("module", "operators", "MMACs", "MFLOPs", "traffic, MB", "weights, MB", "FLOPs/byte")
    timed = report.options.roof is not None
    rows = []
    for layer in report.layers:
        cells = (
            layer.module or "(the network itself)",
            layer.operators,
            show_number(layer.macs, 2, 1e-6),
            show_number(layer.flops, 2, 1e-6),
            show_number(layer.traffic_mb, 3),
            show_number(layer.weights_mb, 3),
            show_number(layer.intensity_flops_per_byte, 2),
            layer.intensity_class,
        )
        bounds = (show_number(layer.latency_bound_ms, 4), layer.bound or ABSENT)
        rows.append((*cells, *(bounds if timed else ())))
    analysis = report.layers_of
    title = f"{analysis.name} at {analysis.image_size} px, by module" if analysis else ""
    last = ("class", "at least, ms", "bound by") if timed else ("class",)
    return Grid(title=title, header=(*header, *last), rows=tuple(rows), words=2)


def _by_metric(report: Report) -> Grid:
    """Return one table: metrics down, under the names of their groups, and models across."""
    rows = report.rows
    lines: list[tuple[str, ...]] = [("image size, px", *(_image_size(row) for row in rows))]
    for group, columns in groupby(_columns(report), key=lambda column: column.group):
        lines.append((group,))
        lines += [(column.header, *(_cell(row, column) for row in rows)) for column in columns]
    if report.dataset:
        lines.append((f"measured on {report.dataset}",))
        each = [_measured(report, row) for row in rows]
        lines += [
            (header, *(cells[index] for cells in each))
            for index, (_, header, _) in enumerate(MEASURED)
        ]
    return Grid(title="", header=("", *(str(row.name) for row in rows)), rows=tuple(lines))


def _by_group(report: Report) -> list[Grid]:
    """Return a table for each group of metrics, models down."""
    grids = []
    for group, found in groupby(_columns(report), key=lambda column: column.group):
        columns = list(found)
        rows = tuple(
            (str(row.name), _image_size(row), *(_cell(row, column) for column in columns))
            for row in report.rows
        )
        header = ("", "image, px", *(column.header for column in columns))
        grids.append(Grid(title=group, header=header, rows=rows))
    if report.dataset:
        rows = tuple((str(row.name), *_measured(report, row)) for row in report.rows)
        header = ("", *(header for _, header, _ in MEASURED))
        grids.append(Grid(title=f"measured on {report.dataset}", header=header, rows=rows))
    return grids


def _columns(report: Report) -> list[Column]:
    timed = report.options.roof is not None
    return [column for column in COLUMNS if timed or column.group != "roofline"]


def _cell(row: Row, column: Column) -> str:
    return column.show(row.metrics) if isinstance(row, Analysis) else ABSENT


def _image_size(row: Row) -> str:
    return str(row.image_size) if isinstance(row, Analysis) else ABSENT


def _measured(report: Report, row: Row) -> list[str]:
    record = report.measured.get(row.name)
    return [ABSENT if record is None else _show(record, *each) for each in MEASURED]


def _show(record: Record, field: str, _: str, digits: int) -> str:
    return show_number(record.flat[field], digits)


def _closing(report: Report, bullet: str = "") -> list[str]:
    """Return the paragraphs below the tables."""
    parts = [ranking_lines(report)]
    if report.recommendation:
        parts.append(recommendation_lines(report.recommendation))
    parts.append(notes(report))
    return ["\n".join(f"{bullet}{line}" for line in lines) for lines in parts if lines]


def _split(grid: Grid, width: int | None) -> list[Grid]:
    """Return tables that fit a width, each with the first column again."""
    widths = _widths(grid)
    if width is None or len(widths) < 2:
        return [grid]
    parts: list[list[int]] = [[]]
    for column in range(1, len(widths)):
        taken = widths[0] + sum(widths[each] + len(_GAP) for each in [*parts[-1], column])
        if taken > width and parts[-1]:
            parts.append([])
        parts[-1].append(column)
    return [_part(grid, [0, *columns]) for columns in parts]


def _part(grid: Grid, columns: Sequence[int]) -> Grid:
    rows = tuple(row if len(row) == 1 else tuple(row[i] for i in columns) for row in grid.rows)
    header = tuple(grid.header[i] for i in columns)
    words = sum(column < grid.words for column in columns)
    return Grid(title=grid.title, header=header, rows=rows, words=words)


def _widths(grid: Grid) -> list[int]:
    whole = [grid.header, *(row for row in grid.rows if len(row) > 1)]
    return [max(map(len, cells)) for cells in zip(*whole, strict=True)]


def _aligned(grid: Grid) -> str:
    widths = _widths(grid)
    lines = [grid.title] if grid.title else []
    for row in (grid.header, *grid.rows):
        cells = [
            cell.ljust(width) if column < grid.words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        lines.append(_GAP.join(cells).rstrip())
    return "\n".join(lines)


def _markdown(grid: Grid) -> str:
    align = [":---" if column < grid.words else "---:" for column in range(len(grid.header))]
    lines = [f"**{grid.title}**", ""] if grid.title else []
    for row in (grid.header, tuple(align), *grid.rows):
        cells = [cell.replace("|", r"\|") for cell in row]
        if len(row) == 1:
            cells = [f"**{cells[0]}**", *[""] * (len(grid.header) - 1)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
