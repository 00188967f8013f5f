"""Sections of the page: the verdicts, latencies side by side, costs that were counted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from harness.records.cost import CostRecord, cost_place
from harness.records.latency import LatencyRecord, latency_place
from harness.records.material import Material
from harness.report.costs import COLUMNS as COST_COLUMNS
from harness.report.latency import describe_comparison, describe_device, latency_table
from harness.report.page_parts import PageTable, Section, address_of
from harness.report.table import NOTHING, Column, Shown, Table
from harness.report.verdicts import FIGURES, contradiction_table, outcome_table, summarise
from harness.reproduction.contradictions import Contradiction
from harness.reproduction.judging import Reproduction
from harness.reproduction.verdict import Verdict

_DATASET = Column[Verdict](name="Data set", get="dataset")
_MODEL = Column[Verdict](name="Model", get="label")
_FIGURE = Column[Verdict](name="Figure", get=lambda verdict: FIGURES[verdict.figure])
_PUBLISHED = Column[Verdict](
    name="Published", get=lambda verdict: verdict.published or None, align="r"
)
_OURS = Column[Verdict](
    name="Ours",
    get=lambda verdict: Shown(text=verdict.measured or NOTHING, link=address_of(verdict.evidence)),
    align="r",
)
_OUTCOME = Column[Verdict](name="Verdict", get="outcome", badge=True)
_WHY = Column[Verdict](name="Why", get="reason")
_COMMAND = Column[Verdict](name="What would tell", get="command")

_COSTS = (
    Column[CostRecord](
        name="Model", get=lambda cost: Shown(text=cost.label, link=_cost_address(cost))
    ),
    Column[CostRecord](name="Pixels", get="image_size", align="r"),
    *COST_COLUMNS,
)


def first_sections(reproduction: Reproduction) -> list[Section]:
    """Return what comes before the table of all cells: whether what was published reproduces."""
    if not reproduction.attempted:
        return []
    verdicts = reproduction.verdicts
    tables = [
        PageTable(table=outcome_table(verdicts)),
        _differing(verdicts),
        *(_of_dataset(name, list(g)) for name, g in groupby(verdicts, key=lambda v: v.dataset)),
        _contradictions(reproduction.contradictions),
    ]
    texts = [
        summarise(verdicts),
        "A figure is judged by a stated rule (verdicts.md has them all), and only on the data "
        "set's official images, at the published image size, on the published kind of device.",
    ]
    return [Section(anchor="verdicts", title="Does it reproduce?", texts=texts, tables=tables)]


def last_sections(material: Material) -> list[Section]:
    """Return what comes after the figures."""
    sections = []
    if material.latencies:
        text = (
            "Times drift on a shared machine; these models were timed in the same rounds, so that "
            "their ratios hold."
        )
        tables = [_comparison(record) for record in material.latencies]
        title = "Latency side by side"
        sections.append(Section(anchor="latencies", title=title, texts=[text], tables=tables))
    if material.costs:
        text = "Operations and bytes at the shape of each data set; no images and no clock needed."
        groups = groupby(material.costs, key=lambda record: record.dataset)
        tables = [_costs(dataset, list(group)) for dataset, group in groups]
        sections.append(Section(anchor="costs", title="Costs counted", texts=[text], tables=tables))
    return sections


def _differing(verdicts: Sequence[Verdict]) -> PageTable:
    found = [verdict for verdict in verdicts if verdict.outcome == "differs"]
    columns = (_DATASET, _MODEL, _FIGURE, _PUBLISHED, _OURS, _WHY)
    return PageTable(
        title="What differs",
        note="" if found else "Nothing that could be judged.",
        table=Table.of(found, columns),
    )


def _of_dataset(dataset: str, verdicts: Sequence[Verdict]) -> PageTable:
    columns = (_MODEL, _FIGURE, _PUBLISHED, _OURS, _OUTCOME, _WHY, _COMMAND)
    return PageTable(
        title=f"Every published figure of {dataset}",
        table=Table.of(verdicts, columns),
        folded=True,
    )


def _contradictions(contradictions: Sequence[Contradiction]) -> PageTable:
    return PageTable(
        title="Where the publication contradicts itself",
        table=contradiction_table(contradictions),
        folded=True,
    )


def _comparison(record: LatencyRecord) -> PageTable:
    path = latency_place(record.dataset, record.device, record.machine.threads)
    return PageTable(
        title=f"{record.dataset}, {describe_device(record)}",
        note=f"{describe_comparison(record)}.",
        source=address_of(path.as_posix()),
        table=latency_table(record),
    )


def _costs(dataset: str, records: Sequence[CostRecord]) -> PageTable:
    return PageTable(
        title=f"Costs at the shape of {dataset}",
        table=Table.of(records, _COSTS),
        folded=True,
    )


def _cost_address(cost: CostRecord) -> str:
    return address_of(cost_place(cost.dataset, cost.model, cost.image_size).as_posix())
