"""Accuracy against cost as points: measured, published, and the Pareto front of the measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.records.cell import Record
from harness.reproduction.published import PublishedCell, published_cells

# Without training on the data set, accuracy is chance.
_UNTRAINED = ("random", "imagenet")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A cost that accuracy is set against.

    Attributes:
        name: In the names of files: `accuracy-<name>`.
        title: In titles.
        field: Of the record.
        published: The field of `PublishedCell` beside it.
        label: On the axis.
        published_as: What the published figure is, where it is not the same.
        per_machine: Whether it can only be compared on one machine.
    """

    name: str
    title: str
    field: str
    published: str
    label: str
    published_as: str = ""
    per_machine: bool = False


COSTS = (
    Cost(
        name="latency",
        title="latency",
        field="latency_ms_p50",
        published="latency_ms",
        label="latency of an image, ms (median, batch 1)",
        published_as="on the authors' machine",
        per_machine=True,
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
        id: `<data set>/<stem>` of its record.
        title: The model's name in tables.
        model: The model's name.
        group: Cells of one group have comparable costs: the machine, or nothing.
        cost: On the horizontal axis.
        accuracy: Top-1, percent.
        low: Lower end of its 95% interval.
        high: Upper end.
    """

    id: str
    title: str
    model: str
    group: str
    cost: float
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class PublishedPoint:
    """A published cell; where a range of costs was printed, its ends."""

    label: str
    model: str
    low: float
    high: float
    accuracy: float


def machine(record: Record) -> str:
    """Return what a cell's times were taken on."""
    if record.cell.device == "cuda":
        return record.machine.device_name
    threads = record.machine.threads
    return f"{record.machine.device_name}, {threads} thread{'s' if threads != 1 else ''}"


def measured_points(records: Iterable[Record], cost: Cost) -> list[Point]:
    """Return the cells whose accuracy and cost were measured, the cheapest first.

    Those whose weights never saw the data set are left out: their accuracy is chance. Runs with
    other seeds are left out, too.
    """
    kept = (
        r for r in records if r.weights.weights_origin not in _UNTRAINED and not r.settings.repeat
    )
    points = [_point(record, cost) for record in kept]
    return sorted((point for point in points if point), key=lambda p: (p.cost, -p.accuracy, p.id))


def published_points(dataset: str, cost: Cost) -> list[PublishedPoint]:
    """Return the published cells of a data set, in the order of the table."""
    cells = (cell for (name, _), cell in published_cells().items() if name == dataset)
    return [_published(cell, cost) for cell in cells]


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Return the points of one group that no other beats, the cheapest first.

    A point is beaten by one that costs no more and is at least as accurate, and better in one.
    """
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cost, -p.accuracy, p.id)):
        last = front[-1] if front else None
        if last is None or point.accuracy > last.accuracy or _is_same(point, last):
            front.append(point)
    return front


def group_points(points: Iterable[Point]) -> dict[str, list[Point]]:
    """Return the points of each group, the groups in alphabetical order."""
    groups: dict[str, list[Point]] = {}
    for point in points:
        groups.setdefault(point.group, []).append(point)
    return dict(sorted(groups.items()))


def _is_same(one: Point, other: Point) -> bool:
    return (one.cost, one.accuracy) == (other.cost, other.accuracy)


def _point(record: Record, cost: Cost) -> Point | None:
    accuracy, value = record.accuracy.accuracy_top1, record.flat[cost.field]
    if accuracy is None or not value:
        return None
    ends = [
        end
        for end in (record.accuracy.accuracy_top1_low, record.accuracy.accuracy_top1_high)
        if end is not None
    ]
    return Point(
        id=f"{record.cell.dataset}/{record.stem}",
        title=record.title,
        model=record.cell.model,
        group=machine(record) if cost.per_machine else "",
        cost=value,
        accuracy=accuracy,
        low=min([accuracy, *ends]),
        high=max([accuracy, *ends]),
    )


def _published(cell: PublishedCell, cost: Cost) -> PublishedPoint:
    ends = [float(part) for part in getattr(cell, cost.published).split("-")]
    return PublishedPoint(
        label=cell.label,
        model=cell.model,
        low=ends[0],
        high=ends[-1],
        accuracy=float(cell.accuracy_top1),
    )
