"""What the paths of a routed network cost: the cheapest, the dearest, and the mean image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.records.cell import Record
from harness.reproduction.published import PublishedCell, published_cells


@dataclass(frozen=True, kw_only=True)
class _Column:
    """One column: its header, the path's field, how it is shown, and its published twin."""

    header: str
    field: str
    digits: int
    scale: float = 1.0
    published: str = ""


_COLUMNS = (
    _Column(header="GMACs", field="gmacs", digits=4),
    _Column(header="thop GMACs", field="gmacs_thop", digits=4, published="gmacs_thop"),
    _Column(header="Weights MB", field="weights_mb", digits=3, published="file_mb"),
    _Column(header="Params M", field="params", digits=3, scale=1e-6),
    _Column(header="Latency ms", field="latency_ms_p50", digits=2, published="latency_ms"),
)


def render_paths(records: Sequence[Record]) -> str:
    """Return a Markdown section on the paths of one data set's records; empty without any."""
    cells = published_cells()
    parts = [
        _render_record(record, cells.get((record.cell.dataset, record.cell.model)))
        for record in records
        if record.paths
    ]
    return "".join(parts)


def _render_record(record: Record, published: PublishedCell | None) -> str:
    paths = [vars(path) for path in record.paths]
    header = ["Path", "Test images", *(column.header for column in _COLUMNS)]
    rows = [
        _row(f"shortest: to node {paths[0]['name']}", paths[0]),
        _row(f"longest: to node {paths[-1]['name']}", paths[-1]),
        _row("mean image", _mean(paths)),
    ]
    if published is not None:
        figures = (getattr(published, c.published) if c.published else "–" for c in _COLUMNS)
        rows.append(["published", "–", *figures])
    align = [":---"] + ["---:"] * (len(header) - 1)
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, align, *rows)]
    return f"\n## {record.title}: {len(paths)} paths\n\n" + "\n".join(lines) + "\n"


def _row(name: str, path: Mapping[str, Any]) -> list[str]:
    return [name, str(path["images"]), *(_show(path[c.field], c) for c in _COLUMNS)]


def _mean(paths: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the means over the test images that take each path."""
    images = sum(path["images"] for path in paths)
    means: dict[str, Any] = {"images": images}
    for column in _COLUMNS:
        values = [path[column.field] for path in paths]
        known = None not in values
        total = sum(v * p["images"] for v, p in zip(values, paths, strict=True)) if known else None
        means[column.field] = None if total is None else total / images
    return means


def _show(value: float | None, column: _Column) -> str:
    return "–" if value is None else f"{value * column.scale:.{column.digits}f}"
