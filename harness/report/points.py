"""Points of accuracy against cost: measured and published cells, and the Pareto front."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from harness.records.cell import Record
from harness.reproduction.published import published_cells

# Without training on the data set, accuracy is chance.
_UNTRAINED = ("random", "imagenet")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A cost that accuracy is set against.

    Attributes:
        name: Name of the cost in the names of files, `accuracy-<name>`.
        field: The record's field.
        published: The field of `PublishedCell` to compare it with.
        label: Label of the axis.
        published_as: What the published figure is, where it is another quantity.
        per_machine: Whether costs can only be compared on one machine.
        sized: Whether the area around a mark shows the size of the weights.
    """

    name: str
    title: str
    field: str
    published: str
    label: str
    published_as: str = ""
    per_machine: bool = False
    sized: bool = False


COSTS = (
    Cost(
        name="latency",
        title="latency",
        field="latency_ms_p50",
        published="latency_ms",
        label="latency of an image, ms (median, batch 1)",
        published_as="on the authors' machine",
        per_machine=True,
        sized=True,
    ),
    Cost(
        name="gmacs",
        title="GMACs",
        field="gmacs",
        published="gmacs_thop",
        label="multiply-accumulates of an image, 10⁹",
        published_as="as thop counts them",
    ),
    Cost(
        name="size",
        title="size",
        field="weights_mb",
        published="file_mb",
        label="size of the weights, MB",
        published_as="size of the saved file",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Point:
    """A measured cell.

    Attributes:
        id: `<data set>/<stem>` of the record.
        group: Cells of one group have comparable costs: the machine, or empty.
        accuracy: Top-1 accuracy, percent; `low` and `high` are the ends of its 95% interval.
        weights_mb: The size of the weights, MB; None where the figure does not show it.
    """

    id: str
    title: str
    model: str
    group: str
    cost: float
    accuracy: float
    low: float
    high: float
    weights_mb: float | None = None


@dataclass(frozen=True, kw_only=True)
class PublishedPoint:
    """A published cell, with the ends of its cost, which are equal unless a range was printed."""

    label: str
    model: str
    low: float
    high: float
    accuracy: float


def _machine(record: Record) -> str:
    if record.cell.device == "cuda":
        return record.machine.device_name
    threads = record.machine.threads
    return f"{record.machine.device_name}, {threads} thread{'s' if threads != 1 else ''}"


def measured_points(records: Iterable[Record], cost: Cost) -> list[Point]:
    """Return the cells whose accuracy and cost were measured, the cheapest first.

    Cells whose weights never saw the data set are left out, because their accuracy is chance, and
    so are runs with other seeds.
    """
    points = (_point(record, cost) for record in records)
    return sorted(filter(None, points), key=_cheapest_first)


def published_points(dataset: str, cost: Cost) -> list[PublishedPoint]:
    """Return the published cells of a data set, in the order of the table."""
    points = []
    for cell in published_cells().values():
        if cell.dataset == dataset:
            ends = [float(end) for end in getattr(cell, cost.published).split("-")]
            figures = {"low": ends[0], "high": ends[-1], "accuracy": float(cell.accuracy_top1)}
            points.append(PublishedPoint(label=cell.label, model=cell.model, **figures))
    return points


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Return the points of one group that no other beats, the cheapest first.

    A point is beaten by one that costs no more and is at least as accurate, and better in one.
    """
    front: list[Point] = []
    for point in sorted(points, key=_cheapest_first):
        last = front[-1] if front else None
        same = last is not None and (point.cost, point.accuracy) == (last.cost, last.accuracy)
        if last is None or same or point.accuracy > last.accuracy:
            front.append(point)
    return front


def group_points(points: Iterable[Point]) -> dict[str, list[Point]]:
    """Return the points of each group, the groups in alphabetical order."""
    by_group = sorted(points, key=attrgetter("group"))
    return {group: list(found) for group, found in groupby(by_group, key=attrgetter("group"))}


def _cheapest_first(point: Point) -> tuple[float, float, str]:
    return point.cost, -point.accuracy, point.id


def _point(record: Record, cost: Cost) -> Point | None:
    accuracy, value = record.accuracy.accuracy_top1, record.flat[cost.field]
    chance = record.weights.weights_origin in _UNTRAINED
    if accuracy is None or not value or chance or record.settings.repeat:
        return None
    interval = (record.accuracy.accuracy_top1_low, record.accuracy.accuracy_top1_high)
    known = [accuracy, *(end for end in interval if end is not None)]
    return Point(
        id=f"{record.cell.dataset}/{record.stem}",
        title=record.title,
        model=record.cell.model,
        group=_machine(record) if cost.per_machine else "",
        cost=value,
        accuracy=accuracy,
        low=min(known),
        high=max(known),
        weights_mb=record.memory.weights_mb if cost.sized else None,
    )
