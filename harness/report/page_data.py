"""The data of the page, as JSON: the rows of its table, its figures, and all details of records."""

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
from harness.records.cost import COSTS as COUNTED
from harness.records.cost import CostRecord
from harness.records.latency import LATENCIES, LatencyRecord
from harness.records.material import Material
from harness.records.store import Tree
from harness.report.points import (
    COSTS,
    Point,
    group_points,
    measured_points,
    pareto_front,
    published_points,
)
from harness.report.table import Column
from harness.reproduction.published import published_cells

# Records per block: few enough that parsing one is fast, enough that there are not many blocks.
PER_BLOCK = 100
DATE = len("2026-01-01")


@dataclass(frozen=True, kw_only=True)
class PageColumn(Column[Record]):
    """A column of the page's table; `get` names a field of `Record.flat` or a property.

    Columns of priority 1 are always shown; the higher the priority, the wider the page must be.
    Those of priority 5 are shown when they are asked for.
    `better` says which end comes first when the table is sorted by the column.
    """

    digits: int | None = 2
    better: Literal["high", "low", ""] = "low"
    priority: int


COLUMNS = (
    PageColumn(get="title", name="Model", priority=1, align="l"),
    PageColumn(get="dataset", name="Data set", priority=3, align="l"),
    PageColumn(get="accuracy_top1", name="Top-1 %", priority=1, better="high"),
    PageColumn(get="accuracy_top5", name="Top-5 %", priority=5, better="high"),
    PageColumn(get="expected_calibration_error", name="ECE %", priority=5),
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
# The names that the page's script has for the attributes of a column.
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


def describe_cells(records: Sequence[Record]) -> Tree:
    """Return what the table and the figures show: a list for each record, fields named once.

    The reason why a figure was not measured is an index into `reasons`, as many cells share one.
    """
    reasons: dict[str, int] = {}
    return {
        "fields": [*_FIELDS, "why"],
        "rows": [_row(record, reasons) for record in records],
        "reasons": list(reasons),
        "columns": [
            {name: getattr(column, own) for name, own in _SCRIPT_NAMES.items()}
            for column in COLUMNS
        ],
        "facets": [name for name, _ in FACETS],
        "costs": [asdict(cost) for cost in COSTS],
        "figures": _figures(records),
        "published": _published(records),
        "meanings": {
            name: meaning
            for cls in (CostRecord, LatencyRecord, Record, *PARTS.values())
            for name, meaning in field_meanings(cls).items()
        },
        "per_block": PER_BLOCK,
    }


def describe_details(records: Sequence[Record]) -> tuple[list[Tree], list[list[Tree]]]:
    """Return all settings, and blocks of records with everything that they hold.

    What is None or empty is left out. The settings of a record are an index into all settings, as
    many cells share theirs, and its history is a list for each quantity.
    """
    settings: dict[str, tuple[int, Tree]] = {}
    details = [_details(record, settings) for record in records]
    blocks = [details[start : start + PER_BLOCK] for start in range(0, len(details), PER_BLOCK)]
    return [each for _, each in settings.values()], blocks


def describe_sources(material: Material) -> dict[str, Tree]:
    """Return the fields of the other records behind the page's figures, by their addresses."""
    trees = {LATENCIES.address(each): asdict(each) for each in material.latencies}
    trees |= {COUNTED.address(each): asdict(each) for each in material.costs}
    for tree in trees.values():
        tree.update(tree.pop("machine", {}) | tree.pop("provenance"))
    return trees


def finite(tree: Any) -> Any:
    """Return a tree whose infinite figures, which JSON does not have, are their names."""
    if isinstance(tree, dict):
        return {key: finite(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [finite(value) for value in tree]
    return str(tree) if isinstance(tree, float) and not math.isfinite(tree) else tree


def field_meanings(cls: type) -> dict[str, str]:
    """Return the description of each attribute in the docstring of a dataclass."""
    _, _, attributes = inspect.getdoc(cls).partition("Attributes:\n")  # type: ignore[union-attr]
    found = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", attributes, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def _row(record: Record, reasons: dict[str, int]) -> list[Any]:
    own = {"title": record.title, "stem": record.stem, "started": record.provenance.started[:DATE]}
    values = record.flat | own
    absent = (name for name in _NUMERIC if name in record.not_measured)
    why = {name: reasons.setdefault(record.not_measured[name], len(reasons)) for name in absent}
    return [*(values[name] for name in _FIELDS), why]


def _details(record: Record, settings: dict[str, tuple[int, Tree]]) -> Tree:
    # The confusion matrix has a picture and a CSV file.
    kept = _without_empty(record.flat | {"confusion_matrix": None})
    used = record.settings.settings
    if used:
        kept["settings"], _ = settings.setdefault(str(used), (len(settings), used))
    if record.weights.history:
        logs = [dataclasses.asdict(entry) for entry in record.weights.history]
        names = [name for name in logs[0] if any(log[name] is not None for log in logs)]
        kept["history"] = {name: [_round(log[name]) for log in logs] for name in names}
    if record.compression:
        kept["compression"] = _without_empty(kept["compression"])
    return kept


def _without_empty(fields: Tree) -> Tree:
    return {name: value for name, value in fields.items() if value not in (None, "", [], (), {})}


def _round(value: object) -> object:
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _figures(records: Sequence[Record]) -> Tree:
    """Return the content of each figure by data set and cost; a cell is its index in the rows."""
    places = {f"{record.cell.dataset}/{record.stem}": i for i, record in enumerate(records)}

    def numbers(points: Iterable[Point]) -> list[int]:
        return [places[point.id] for point in points]

    figures: Tree = {}
    for dataset, group in groupby(records, key=lambda record: record.cell.dataset):
        members = list(group)
        for cost in COSTS:
            groups = [
                {"name": name, "rows": numbers(points), "front": numbers(pareto_front(points))}
                for name, points in group_points(measured_points(members, cost)).items()
            ]
            if groups:
                published = [asdict(point) for point in published_points(dataset, cost)]
                figure = {"groups": groups, "published": published}
                figures.setdefault(dataset, {})[cost.name] = figure
    return figures


def _published(records: Sequence[Record]) -> dict[str, dict[str, str]]:
    """Return the published cells beside the recorded ones, by data set and model."""
    published: dict[str, dict[str, str]] = {}
    for record in records:
        cell = published_cells().get((record.cell.dataset, record.cell.model))
        if cell is not None:
            fields = asdict(cell)
            published[f"{fields.pop('dataset')}/{fields.pop('model')}"] = fields
    return published
