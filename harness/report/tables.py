"""Tables of records beside the published cells: Markdown, CSV and rows for a terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

from harness.records.cell import SCALARS, Record
from harness.records.comparability import describe_fairness
from harness.records.parts import Compression
from harness.report.columns import (
    COLUMNS,
    NOTHING,
    Column,
    Shown,
    columns_of,
    show_column,
    show_published,
)
from harness.report.footnotes import Footnotes
from harness.report.rows import Row, make_rows
from harness.reproduction.published import REFERENCE, published_cells


def render_rows(records: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows for a terminal: of what was run, with the notes in the rows."""
    rows = [row for row in make_rows(records) if row.runs]
    notes = ["; ".join(row_notes(row)) for row in rows]
    columns = [c for c in COLUMNS if not c.optional or any(map(c.show, rows))]
    header, lines = _lay_out(rows, columns, notes, lambda shown: shown.figure)
    return [name.replace(" ↑", "").replace(" ↓", "") for name in header], lines


def render_markdown(rows: Sequence[Row], records: Sequence[Record]) -> str:
    """Return a Markdown table of one data set, with footnotes on where its figures are from.

    Args:
        rows: The rows of the table.
        records: The records of the data set, whose images and machines are named below it.
    """
    footnotes = Footnotes()
    marks = [footnotes.mark(row_notes(row)) for row in rows]
    header, lines = _lay_out(rows, columns_of(rows), marks, _in_bold)
    align = [":---"] + ["---:"] * (len(header) - 2) + [":---"]
    escaped = [[cell.replace("|", r"\|") for cell in line] for line in lines]
    table = ["| " + " | ".join(cells) + " |" for cells in (header, align, *escaped)]
    notes = [f"- {letter}: {text}" for letter, text in footnotes.texts.items()]
    return "\n".join([*table, "", *notes, *_sources(records)]) + "\n"


def row_notes(row: Row) -> list[str]:
    """Return what is to be said of a row: where its figures are from, or why it has none."""
    record = row.record
    if record is None:
        size = f"counted at {row.cost.image_size} px" if row.cost else "not counted"
        return [f"not run; costs {size}"]
    notes = _notes(record)
    if len(row.runs) > 1:
        seeds = ", ".join(str(run.settings.seed) for run in row.runs)
        notes.append(f"mean ± standard deviation of {len(row.runs)} runs, seeds {seeds}")
    return notes


def _lay_out(
    rows: Sequence[Row],
    columns: Sequence[Column],
    notes: Sequence[str],
    emphasise: Callable[[Shown], str],
) -> tuple[list[str], list[list[str]]]:
    """Return the header and the cells of a table; what was not measured is a dash."""
    with_published = any(row.published for row in rows)
    header, lines = ["Model"], [[row.title] for row in rows]
    for column in columns:
        header.append(column.header)
        for line, shown in zip(lines, show_column(column, rows), strict=True):
            line.append(
                " ".join(filter(None, [emphasise(shown), shown.spread])) if shown else NOTHING
            )
        if column.published and with_published:
            header.append("published")
            _add_published(column, rows, lines)
    for line, note in zip(lines, notes, strict=True):
        line.append(note)
    return [*header, "Notes"], lines


def _in_bold(shown: Shown) -> str:
    return f"**{shown.figure}**" if shown.best else shown.figure


def _add_published(column: Column, rows: Sequence[Row], lines: Sequence[list[str]]) -> None:
    cells = published_cells()
    for row, line in zip(rows, lines, strict=True):
        line.append(show_published(column, row, cells.get((row.dataset, REFERENCE))))


def render_csv(records: Sequence[Record]) -> str:
    """Return every scalar field of the records, with the published figures beside them."""
    published = published_cells()
    names = list(SCALARS)
    extra = ["accuracy_top1", "latency_ms", "file_mb", "gmacs_thop"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names + [f"published_{name}" for name in extra])
    for record in records:
        cell = published.get((record.cell.dataset, record.cell.model))
        row = [record.flat[name] for name in names]
        writer.writerow(row + [getattr(cell, name) if cell else None for name in extra])
    return out.getvalue()


def _notes(record: Record) -> list[str]:
    if record.status != "ok":
        return [f"{record.status}: {record.reason}"]
    notes = [f"{record.weights.weights_origin} weights at {record.settings.image_size} px"]
    if record.weights.weights_origin == "trained":
        epochs = f"{record.weights.epochs} epoch{'s' if record.weights.epochs != 1 else ''}"
        stages = {entry.stage for entry in record.weights.history}
        if len(stages) > 1:
            epochs = f"{epochs} in {len(stages)} stages"
        minutes = (record.weights.training_seconds or 0) / 60
        notes = [
            f"{epochs} at {record.settings.image_size} px from {record.weights.start} weights, "
            f"{minutes:.1f} min"
        ]
        trained, params = record.operations.params_trainable, record.operations.params
        if trained is not None and params is not None and trained < params:
            notes.append(f"{trained / 1e6:.2f} of {params / 1e6:.2f} M parameters trained")
    if record.paths:
        shortest, longest = record.paths[0].gmacs, record.paths[-1].gmacs
        notes.append(f"mean of {len(record.paths)} paths, {shortest:.3g}–{longest:.3g} GMACs")
    notes += _compression_notes(record.compression)
    if record.accuracy.accuracy_fp32_check:
        check, precision = record.accuracy.accuracy_fp32_check, record.accuracy.precision
        notes.append(
            f"{precision}: {check['changed']} of {check['images']} images change class, "
            f"{check[f'accuracy_{precision}'] - check['accuracy_fp32']:+.2f} points"
        )
    if record.machine.busy:
        notes.append(f"costs on a busy machine: {record.machine.busy}")
    if not record.data.data_official:
        notes.append(f"images of {record.data.data_name}, not the official split")
    return notes


def _compression_notes(found: Compression | None) -> list[str]:
    """Say what a compressed model was, and what it costs relative to its base."""
    if found is None:
        return []
    brought = (
        f"× {found.base}: latency {found.latency_ratio_to_base:.2f}, "
        f"weights {found.weights_ratio_to_base:.2f}"
    )
    if found.speed_up:
        brought += f", MACs {1 / found.speed_up:.2f}"
    steps = {
        f"{found.base} itself": found.accuracy_base,
        "fake-quantised": found.accuracy_fake_quantized,
        "pruned, before fine-tuning": found.accuracy_pruned,
    }
    known = [f"{text} {value:.2f}%" for text, value in steps.items() if value is not None]
    return [brought, ", ".join(known)] if known else [brought]


def _sources(records: Sequence[Record]) -> list[str]:
    """Say which images, machines and precision the figures are from."""
    ran = [record for record in records if record.status == "ok"]
    lines = []
    for source in dict.fromkeys(
        (r.data.data_name, r.data.data_sha256, r.data.data_official) for r in ran
    ):
        name, digest, official = source
        split = "the data set's own split" if official else "**not the official split**"
        lines.append(f"- Images: {name}, {split}, SHA-256 `{digest[:16]}…`")
    for machine in dict.fromkeys(
        (r.machine.device_name, r.machine.threads, r.accuracy.precision) for r in ran
    ):
        name, threads, precision = machine
        timed = "int8" if precision == "int8" else "fp32"
        lines.append(
            f"- Machine: {name}, {threads} CPU threads; latency at batch 1 in {timed}, "
            f"accuracy in {precision}"
        )
    fairness = describe_fairness(ran)
    return lines if fairness is None else [*lines, f"- Fair (same settings): {fairness}"]
