"""What the page shows, as JSON: the rows of its table, its figures, and all that is behind them."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Literal

from harness.records.cell import PARTS, Record
from harness.records.cost import CostRecord, cost_place
from harness.records.latency import LatencyRecord, latency_place
from harness.records.material import Material
from harness.report.page_sections import address_of
from harness.report.points import (
    COSTS,
    Cost,
    Point,
    group_points,
    measured_points,
    pareto_front,
    published_points,
)
from harness.report.table import Column
from harness.reproduction.published import published_cells

# So few records that parsing a block takes no time, so many that there are not many blocks.
PER_BLOCK = 100


@dataclass(frozen=True, kw_only=True)
class PageColumn(Column[Record]):
    """A column of the page's table; `get` is the name of a field, of `Record.flat` or a property.

    Attributes:
        digits: 2.
        better: The end that comes first when sorted: low.
        priority: 1 is shown everywhere; the higher, the wider the page must be.
    """

    digits: int | None = 2
    better: Literal["high", "low", ""] = "low"
    priority: int


COLUMNS = (
    PageColumn(get="title", name="Model", priority=1, align="l"),
    PageColumn(get="dataset", name="Data set", priority=3, align="l"),
    PageColumn(get="accuracy_top1", name="Top-1 %", priority=1, better="high"),
    PageColumn(get="latency_ms_p50", name="Latency ms", priority=1),
    PageColumn(get="throughput_images_per_s", name="Images/s", priority=2, digits=0, better="high"),
    PageColumn(get="gmacs", name="GMACs", priority=2, digits=3),
    PageColumn(get="weights_mb", name="Size MB", priority=2),
    PageColumn(get="peak_memory_mb", name="Memory MB", priority=3),
    PageColumn(get="energy_j_per_image", name="Energy J", priority=4, digits=3),
    PageColumn(get="device", name="Device", priority=3, align="l"),
    PageColumn(get="status", name="Status", priority=3, align="l"),
    PageColumn(get="weights_origin", name="Weights", priority=3, align="l"),
    PageColumn(get="data_name", name="Images", priority=4, align="l"),
    PageColumn(get="started", name="Date", priority=4, align="l"),
)
# What the page's script calls the attributes of a column.
_SCRIPT_NAMES = {
    "field": "get",
    "header": "name",
    "priority": "priority",
    "numeric": "right",
    "digits": "digits",
    "scale": "scale",
    "best": "better",
}
_FILTERED = ("dataset", "device", "status", "weights_origin", "data_name")
FACETS = tuple((column.get, column.name) for column in COLUMNS if column.get in _FILTERED)
_EXTRA = (
    *("stem", "model", "seed", "repeat", "reason", "data_official"),
    *("accuracy_top1_low", "accuracy_top1_high"),
)
_FIELDS = (*(str(column.get) for column in COLUMNS), *_EXTRA)
_NUMERIC = tuple(str(column.get) for column in COLUMNS if column.right)
_DATE = len("2026-01-01")
# It has a picture, and a CSV file.
_LEFT_OUT = ("confusion_matrix",)


def describe_cells(records: Sequence[Record]) -> dict[str, Any]:
    """Return what the table and the figures show: a list for each record, fields named once.

    Why a figure was not measured is a place in `reasons`, as many cells share theirs.
    """
    reasons: dict[str, int] = {}
    return {
        "fields": [*_FIELDS, "why"],
        "rows": [[*_row(record), _why(record, reasons)] for record in records],
        "reasons": list(reasons),
        "columns": [
            {name: getattr(column, own) for name, own in _SCRIPT_NAMES.items()}
            for column in COLUMNS
        ],
        "facets": [name for name, _ in FACETS],
        "costs": [asdict(cost) for cost in COSTS],
        "figures": _figures(records),
        "published": _published(records),
        "meanings": _meanings(),
        "per_block": PER_BLOCK,
    }


@dataclass(frozen=True, kw_only=True)
class Details:
    """All that records hold.

    Attributes:
        blocks: Some records each, in order; what is None or empty is left out. A record's settings
            are a place in `settings`, as many cells share theirs, and its history is a list for
            each quantity.
        settings: The settings themselves.
    """

    blocks: list[list[dict[str, Any]]]
    settings: list[dict[str, Any]]


def describe_details(records: Sequence[Record]) -> Details:
    """Return all that the page shows of a record when it is asked for."""
    settings: dict[str, tuple[int, dict[str, Any]]] = {}
    details = [_details(record, settings) for record in records]
    blocks = [details[start : start + PER_BLOCK] for start in range(0, len(details), PER_BLOCK)]
    return Details(blocks=blocks, settings=[each for _, each in settings.values()])


def describe_sources(material: Material) -> dict[str, dict[str, Any]]:
    """Return the other records that figures of the page are from, by their addresses on it."""
    paths = {
        latency_place(each.dataset, each.device, each.machine.threads): each
        for each in material.latencies
    } | {cost_place(each.dataset, each.model, each.image_size): each for each in material.costs}
    return {address_of(path.as_posix()): _without_parts(each) for path, each in paths.items()}


def _without_parts(record: LatencyRecord | CostRecord) -> dict[str, Any]:
    """Return the fields of a record and of its parts by name."""
    tree = asdict(record)
    for part in ("machine", "provenance"):
        tree |= tree.pop(part, {})
    return tree


def finite(tree: Any) -> Any:
    """Return a tree whose infinite figures, which JSON does not have, are their names."""
    if isinstance(tree, dict):
        return {key: finite(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [finite(value) for value in tree]
    return str(tree) if isinstance(tree, float) and not math.isfinite(tree) else tree


def field_meanings(cls: type) -> dict[str, str]:
    """Return what a dataclass's docstring says of each attribute."""
    _, _, attributes = inspect.getdoc(cls).partition("Attributes:\n")  # type: ignore[union-attr]
    found = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", attributes, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def _meanings() -> dict[str, str]:
    meanings: dict[str, str] = {}
    for cls in (CostRecord, LatencyRecord, Record, *PARTS.values()):
        meanings |= field_meanings(cls)
    return meanings


def _row(record: Record) -> list[Any]:
    own = {"title": record.title, "stem": record.stem, "started": record.provenance.started[:_DATE]}
    values = record.flat | own
    return [values[name] for name in _FIELDS]


def _why(record: Record, reasons: dict[str, int]) -> dict[str, int]:
    """Return by field, for figures that are None, the place of the reason."""
    known = (name for name in _NUMERIC if name in record.not_measured)
    return {name: reasons.setdefault(record.not_measured[name], len(reasons)) for name in known}


def _details(record: Record, settings: dict[str, tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    kept = {name: v for name, v in record.flat.items() if name not in _LEFT_OUT and _is_there(v)}
    used = record.settings.settings
    if used:
        kept["settings"], _ = settings.setdefault(str(used), (len(settings), used))
    if record.weights.history:
        logs = [dataclasses.asdict(entry) for entry in record.weights.history]
        names = [name for name in logs[0] if any(log[name] is not None for log in logs)]
        kept["history"] = {name: [_rounded(log[name]) for log in logs] for name in names}
    if record.compression:
        kept["compression"] = {name: v for name, v in kept["compression"].items() if _is_there(v)}
    return kept


def _is_there(value: object) -> bool:
    return value is not None and value not in ("", [], (), {})


def _rounded(value: object) -> object:
    """Return a figure of a learning curve to the digits that mean something."""
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _figures(records: Sequence[Record]) -> dict[str, Any]:
    """Return by data set and cost what a figure shows; a cell is its place among the rows."""
    places = {f"{record.cell.dataset}/{record.stem}": i for i, record in enumerate(records)}
    figures: dict[str, Any] = {}
    for dataset, group in groupby(records, key=lambda record: record.cell.dataset):
        members = list(group)
        found = {cost.name: _figure(dataset, members, cost, places) for cost in COSTS}
        figures[dataset] = {name: figure for name, figure in found.items() if figure["groups"]}
    return {dataset: figure for dataset, figure in figures.items() if figure}


def _figure(
    dataset: str, records: Sequence[Record], cost: Cost, places: dict[str, int]
) -> dict[str, Any]:
    def numbers(points: Iterable[Point]) -> list[int]:
        return [places[point.id] for point in points]

    groups = group_points(measured_points(records, cost))
    return {
        "groups": [
            {"name": name, "rows": numbers(points), "front": numbers(pareto_front(points))}
            for name, points in groups.items()
        ],
        "published": [asdict(point) for point in published_points(dataset, cost)],
    }


def _published(records: Sequence[Record]) -> dict[str, dict[str, str]]:
    """Return the published cells beside the recorded ones, by data set and model."""
    cells, wanted = (
        published_cells(),
        dict.fromkeys((r.cell.dataset, r.cell.model) for r in records),
    )
    return {
        "/".join(key): {
            name: value
            for name, value in asdict(cells[key]).items()
            if name not in ("dataset", "model")
        }
        for key in wanted
        if key in cells
    }
