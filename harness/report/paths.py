"""The costs of the paths of a routed network: the cheapest, the dearest, and the mean image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.records.cell import Record
from harness.report.table import Column, Table
from harness.reproduction.published import published_cells

# Fields of a path.
COLUMNS: tuple[Column[Mapping[str, Any]], ...] = (
    Column(name="Path", get="path"),
    Column(name="Test images", get="images", align="r"),
    Column(name="GMACs", get="gmacs", digits=4),
    Column(name="thop GMACs", get="gmacs_thop", digits=4),
    Column(name="Weights MB", get="weights_mb", digits=3),
    Column(name="Params M", get="params", digits=3, scale=1e-6),
    Column(name="Latency ms", get="latency_ms_p50", digits=2),
)
# Fields of a published cell.
_PUBLISHED = {"gmacs_thop": "gmacs_thop", "weights_mb": "file_mb", "latency_ms_p50": "latency_ms"}


def render_paths(records: Sequence[Record]) -> str:
    """Return a Markdown section on the paths of one data set's records; empty without any."""
    return "".join(
        f"\n## {record.title}: {len(record.paths)} paths\n\n"
        f"{Table.of(_rows(record), COLUMNS).markdown()}"
        for record in records
        if record.paths
    )


def _rows(record: Record) -> Sequence[Mapping[str, Any]]:
    paths = [vars(path) for path in record.paths]
    first, last = paths[0], paths[-1]
    rows = [
        {**first, "path": f"shortest: to node {first['name']}"},
        {**last, "path": f"longest: to node {last['name']}"},
        {**_mean(paths), "path": "mean image"},
    ]
    cell = published_cells().get((record.cell.dataset, record.cell.model))
    if cell is not None:
        figures = {field: getattr(cell, name) for field, name in _PUBLISHED.items()}
        rows.append({**figures, "path": "published"})
    return rows


def _mean(paths: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the means over the test images that take each path; None where one is not known."""
    import pandas as pd

    frame = pd.DataFrame(paths)
    images, figures = frame["images"], frame[[column.get for column in COLUMNS[2:]]].astype(float)
    means = figures.mul(images, axis=0).sum(skipna=False) / images.sum()
    return {**means, "images": images.sum()}
