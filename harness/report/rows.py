"""The rows of a data set's table: its records, and the published cells that were not run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.records.cell import Record
from harness.records.cost import CostRecord
from harness.records.latency import LatencyRecord, LatencyRow
from harness.records.material import Material
from harness.reproduction.latency import latency_beside_reference, on_every_device
from harness.reproduction.published import (
    PublishedCell,
    published_cells,
    published_conditions,
    published_costs,
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table.

    Attributes:
        title: The name of the line.
        runs: The cell's record, then those of other seeds; empty where it was not run.
        latency: The latency beside the reference's.
        device: The device of the record and the latency; cpu where there is neither.
    """

    dataset: str
    model: str
    title: str
    published: PublishedCell | None = None
    runs: tuple[Record, ...] = ()
    cost: CostRecord | None = None
    latency: LatencyRow | None = None
    device: str = "cpu"

    @property
    def record(self) -> Record | None:
        """The record of the cell itself."""
        return self.runs[0] if self.runs else None

    def values(self, field: str) -> list[float]:
        """Return a field's figure in every run that has one, else the one that was counted."""
        found = [run.flat[field] for run in self.runs]
        known = [value for value in found if value is not None]
        if known or (self.record is not None and self.record.status == "ok"):
            return known
        counted = getattr(self.cost, field, None)
        return [] if counted is None else [counted]


def make_rows(
    records: Sequence[Record],
    costs: Sequence[CostRecord] = (),
    latencies: Sequence[LatencyRecord] = (),
) -> list[Row]:
    """Return the rows of one data set, of which at least one of the arguments is not empty.

    Where tables were published for it, all their models come first, in their order, whether they
    were run or not. A record of images of another size than the costs were counted at stands in a
    row of its own.
    """
    (dataset,) = Material(records=records, costs=costs, latencies=latencies).datasets
    cells = {model: cell for (name, model), cell in published_cells().items() if name == dataset}
    counted, as_published = published_costs(costs), published_costs(costs, "published")
    groups: dict[str, list[tuple[Record, ...]]] = {model: [] for model in (*cells, *counted)}
    for runs in group_runs(records):
        groups.setdefault(runs[0].cell.model, []).append(runs)
    # Without anything published, in the order of the records.
    order = groups if cells else dict.fromkeys((*(r.cell.model for r in records), *groups))
    rows: list[Row] = []
    for model in order:
        cell, cost = cells.get(model), counted.get(model)
        if all(_is_of_other_size(runs[0], cost) for runs in groups[model]):
            rows.append(_empty_row(dataset, model, cell, cost, latencies))
        conditions = published_conditions().get((dataset, model))
        another = conditions is not None and conditions.own_network
        for runs in groups[model]:
            counts = as_published.get(model) if another and runs[0].published else cost
            rows.append(_run_row(runs, cell, counts, latencies))
    return rows


def group_runs(records: Iterable[Record]) -> list[tuple[Record, ...]]:
    """Return the records of cells, each followed by its runs with other seeds.

    A run belongs to a cell when both are ok and nothing but the seed is different, the code of the
    model included. Where a cell has no record of its own, the first of its runs takes its place.
    """
    cells: dict[tuple[object, ...], list[Record]] = {}
    for record in sorted(records, key=lambda r: (r.settings.repeat, r.settings.seed)):
        key = (record.cell.dataset, record.cell.model, record.cell.device, record.published)
        cells.setdefault(key, []).append(record)
    return [
        (first, *(run for run in others if _alike(first, run))) for first, *others in cells.values()
    ]


def accuracy_interval(record: Record) -> str:
    """Return the 95% interval of a record's accuracy in brackets; empty where it has none."""
    low, high = record.accuracy.accuracy_top1_low, record.accuracy.accuracy_top1_high
    return "" if low is None or high is None else f"({low:.1f}–{high:.1f})"


def _alike(first: Record, run: Record) -> bool:
    if first.status != "ok" or run.status != "ok" or first.data.data_sha256 != run.data.data_sha256:
        return False
    other_code = _is_other_code(first.weights.code_digest, run.weights.code_digest)
    return not other_code and first.settings.settings | {"seed": 0} == run.settings.settings | {
        "seed": 0
    }


def _is_other_code(digest: str | None, other: str | None) -> bool:
    """Whether two records are known to be of different code; older ones do not note it."""
    return None not in (digest, other) and digest != other


def _is_of_other_size(record: Record, cost: CostRecord | None) -> bool:
    different = cost is not None and record.settings.image_size != cost.image_size
    return different and record.status == "ok"


def _run_row(
    runs: tuple[Record, ...],
    cell: PublishedCell | None,
    cost: CostRecord | None,
    latencies: Sequence[LatencyRecord],
) -> Row:
    record, title = runs[0], runs[0].title
    if _is_of_other_size(record, cost):
        title, cell, cost = f"{title} at {record.settings.image_size} px", None, None
    if cost is not None and _is_other_code(record.weights.code_digest, cost.code_digest):
        cost = None
    found = latency_beside_reference(latencies, record.cell.model, record.cell.device)
    timed = None if found is None else found[1]
    # Another size takes another time, and so does another tree.
    alike = (
        timed is not None
        and timed.image_size == record.settings.image_size
        and not (record.paths and timed.weights_sha256 != record.weights.weights_sha256)
    )
    return Row(
        dataset=record.cell.dataset,
        model=record.cell.model,
        title=title + (" (GPU)" if record.cell.device == "cuda" else ""),
        published=cell,
        runs=runs,
        cost=cost,
        latency=timed if alike and not record.published else None,
        device=record.cell.device,
    )


def _empty_row(
    dataset: str,
    model: str,
    cell: PublishedCell | None,
    cost: CostRecord | None,
    latencies: Sequence[LatencyRecord],
) -> Row:
    device, timed = "cpu", None
    for comparison, row in on_every_device(latencies, model):
        # Counts and a time at two sizes would be those of two networks.
        if cost is None or row.image_size == cost.image_size:
            device, timed = comparison.device, row
    title = cost.label if cost else timed.label if timed else cell.label if cell else model
    return Row(
        dataset=dataset,
        model=model,
        title=title,
        published=cell,
        cost=cost,
        latency=timed,
        device=device,
    )
