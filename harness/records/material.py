"""All records of a results folder: cells, comparisons of latencies, counted costs, tuning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.records.cell import CELLS, Record
from harness.records.cost import COSTS, CostRecord
from harness.records.latency import LATENCIES, LatencyRecord
from harness.records.tuning import TUNINGS, TuningRecord


@dataclass(frozen=True, kw_only=True)
class Material:
    """The records of a results folder, or those of one data set.

    `broken` has a line on each file of the folder that is no such record.
    """

    records: Sequence[Record]
    latencies: Sequence[LatencyRecord] = ()
    costs: Sequence[CostRecord] = ()
    tunings: Sequence[TuningRecord] = ()
    broken: Sequence[str] = ()

    def of(self, dataset: str) -> Material:
        """Return the records of one data set."""
        return Material(
            records=[each for each in self.records if each.cell.dataset == dataset],
            latencies=[each for each in self.latencies if each.dataset == dataset],
            costs=[each for each in self.costs if each.dataset == dataset],
            tunings=[each for each in self.tunings if each.cell.dataset == dataset],
        )

    @property
    def datasets(self) -> list[str]:
        """The names of the data sets that have records of any kind."""
        names = {r.cell.dataset for r in self.records} | {c.dataset for c in self.costs}
        names |= {each.dataset for each in self.latencies}
        return sorted(names | {each.cell.dataset for each in self.tunings})

    def cost(
        self, dataset: str, model: str, size: int | None = None, *, variant: str = ""
    ) -> CostRecord | None:
        """Return what was counted of a model, at one image size or at the largest."""
        wanted = (dataset, model, variant)
        found = [c for c in self.costs if (c.dataset, c.model, c.variant) == wanted]
        sized = [c for c in found if size in (None, c.image_size)]
        return max(sized, key=lambda c: c.image_size, default=None)

    def record(self, dataset: str, model: str, *, published: bool) -> Record | None:
        """Return the record of a model, of published weights or not; one made on a CPU first."""
        wanted = (dataset, model, published)
        found = [r for r in self.records if (r.cell.dataset, r.cell.model, r.published) == wanted]
        whole = [r for r in found if r.status == "ok" and not r.settings.repeat]
        return min(whole, key=lambda r: r.cell.device, default=None)


def read_material(results: Path) -> Material:
    """Read all records in a results folder; one that is broken does not hide the others."""
    records, broken_records = CELLS.read_good(results)
    latencies, broken_latencies = LATENCIES.read_good(results)
    costs, broken_costs = COSTS.read_good(results)
    tunings, broken_tunings = TUNINGS.read_good(results)
    return Material(
        records=records,
        latencies=latencies,
        costs=costs,
        tunings=tunings,
        broken=[*broken_records, *broken_latencies, *broken_costs, *broken_tunings],
    )
