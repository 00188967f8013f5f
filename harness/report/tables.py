"""Tables of records beside the published cells: Markdown, CSV and rows for a terminal."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.published import PublishedCell, published_cells
from harness.records import Record


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column: its header, what a record says there, and what was published.

    Attributes:
        header: With the unit.
        measured: Formats the figure; None where it was not measured.
        published: The name of the field of `PublishedCell` that it is compared with.
    """

    header: str
    measured: Callable[[Record], str | None]
    published: str | None = None


def _number(field: str, digits: int, scale: float = 1.0) -> Callable[[Record], str | None]:
    def show(record: Record) -> str | None:
        value = getattr(record, field)
        if value is None:
            return None
        text = f"{value * scale:.{digits}f}"
        # A small figure is not none at all.
        return f"{value * scale:.2g}" if value and float(text) == 0 else text

    return show


def _accuracy(record: Record) -> str | None:
    if record.accuracy_top1 is None:
        return None
    low, high = record.accuracy_top1_low, record.accuracy_top1_high
    return f"{record.accuracy_top1:.2f} ({low:.1f}–{high:.1f})"


COLUMNS: tuple[Column, ...] = (
    Column(header="Top-1 % (95%)", measured=_accuracy, published="accuracy_top1"),
    Column(header="Latency ms", measured=_number("latency_ms_p50", 2), published="latency_ms"),
    Column(header="Images/s", measured=_number("throughput_images_per_s", 0)),
    Column(header="Weights MB", measured=_number("weights_mb", 2), published="file_mb"),
    Column(header="Peak MB", measured=_number("peak_memory_mb", 2)),
    Column(header="Params M", measured=_number("params", 2, 1e-6)),
    Column(header="GMACs", measured=_number("gmacs", 3)),
    Column(header="thop GMACs", measured=_number("gmacs_thop", 3), published="gmacs_thop"),
)


def table_header(with_published: bool) -> list[str]:
    """Return the headers of a table, one for each cell of its rows."""
    names = ["Model"]
    for column in COLUMNS:
        names.append(column.header)
        if column.published and with_published:
            names.append("published")
    return [*names, "Notes"]


def table_row(record: Record, published: PublishedCell | None, with_published: bool) -> list[str]:
    """Return the cells of one record; what was not measured is a dash, never a number."""
    cells = [record.title + (" (GPU)" if record.device == "cuda" else "")]
    for column in COLUMNS:
        cells.append(column.measured(record) or "–")
        if column.published and with_published:
            cells.append(getattr(published, column.published) if published else "–")
    return [*cells, "; ".join(_notes(record))]


def render_rows(records: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows; published columns appear when any of the records has some."""
    published = published_cells()
    with_published = any((record.dataset, record.model) in published for record in records)
    rows = [
        table_row(record, published.get((record.dataset, record.model)), with_published)
        for record in records
    ]
    return table_header(with_published), rows


def render_markdown(records: Sequence[Record]) -> str:
    """Return a Markdown table of the records of one data set, with notes on where they are from."""
    header, rows = render_rows(records)
    align = [":---"] + ["---:"] * (len(header) - 2) + [":---"]
    escaped = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, align, *escaped)]
    return "\n".join([*lines, "", *_sources(records)]) + "\n"


def render_csv(records: Sequence[Record]) -> str:
    """Return every scalar field of the records, with the published figures beside them."""
    published = published_cells()
    names = [f.name for f in dataclasses.fields(Record) if _is_scalar(f.name)]
    extra = ["accuracy_top1", "latency_ms", "file_mb", "gmacs_thop"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names + [f"published_{name}" for name in extra])
    for record in records:
        cell = published.get((record.dataset, record.model))
        row = [getattr(record, name) for name in names]
        writer.writerow(row + [getattr(cell, name) if cell else None for name in extra])
    return out.getvalue()


_NESTED = {
    *(
        "not_measured",
        "accuracy_fp32_check",
        "cores",
        "load",
        "classes",
        "history",
        "confusion_matrix",
        "paths",
    ),
    *("settings", "environment"),
}


def _is_scalar(name: str) -> bool:
    return name not in _NESTED


def _notes(record: Record) -> list[str]:
    if record.status != "ok":
        return [f"{record.status}: {record.reason}"]
    notes = [f"{record.weights_origin} weights at {record.image_size} px"]
    if record.weights_origin == "trained":
        epochs = f"{record.epochs} epoch{'s' if record.epochs != 1 else ''}"
        stages = {entry["stage"] for entry in record.history if "stage" in entry}
        if stages:
            epochs = f"{epochs} in {len(stages)} stages"
        minutes = (record.training_seconds or 0) / 60
        notes = [
            f"{epochs} at {record.image_size} px from {record.start} weights, {minutes:.1f} min"
        ]
        trained, params = record.params_trainable, record.params
        if trained is not None and params is not None and trained < params:
            notes.append(f"{trained / 1e6:.2f} of {params / 1e6:.2f} M parameters trained")
    if record.paths:
        shortest, longest = record.paths[0]["gmacs"], record.paths[-1]["gmacs"]
        notes.append(f"mean of {len(record.paths)} paths, {shortest:.3g}–{longest:.3g} GMACs")
    if record.accuracy_fp32_check:
        check = record.accuracy_fp32_check
        notes.append(
            f"{record.precision}: {check['changed']} of {check['images']} images change class, "
            f"{check[f'accuracy_{record.precision}'] - check['accuracy_fp32']:+.2f} points"
        )
    if record.busy:
        notes.append(f"costs on a busy machine: {record.busy}")
    if not record.data_official:
        notes.append(f"images of {record.data_name}, not the official split")
    return notes


def _sources(records: Sequence[Record]) -> list[str]:
    """Say which images, machines and precision the figures are from."""
    ran = [record for record in records if record.status == "ok"]
    lines = []
    for source in dict.fromkeys((r.data_name, r.data_sha256, r.data_official) for r in ran):
        name, digest, official = source
        split = "the data set's own split" if official else "**not the official split**"
        lines.append(f"- Images: {name}, {split}, SHA-256 `{digest[:16]}…`")
    for machine in dict.fromkeys((r.device_name, r.threads, r.precision) for r in ran):
        name, threads, precision = machine
        lines.append(
            f"- Machine: {name}, {threads} CPU threads; latency at batch 1 in fp32, "
            f"accuracy in {precision}"
        )
    return lines
