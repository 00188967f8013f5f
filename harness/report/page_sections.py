"""Sections of the page: verdicts, rankings, tuning, latencies side by side, counted costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

from harness.records.cell import Record
from harness.records.comparability import describe_budgets, describe_fairness
from harness.records.cost import COSTS, CostRecord
from harness.records.latency import LATENCIES
from harness.records.material import Material
from harness.records.store import address_of
from harness.report.costs import COLUMNS as COST_COLUMNS
from harness.report.figures import tuning_stems
from harness.report.latency import describe_comparison, describe_device, latency_table
from harness.report.ranking import SameImages, ranking_rules, ranking_table, ranking_title
from harness.report.table import NOTHING, Column, Shown, Table
from harness.report.tuning import tuning_table
from harness.report.verdicts import FIGURES, contradiction_table, outcome_table, summarise
from harness.reproduction.judging import Reproduction
from harness.reproduction.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class PageTable:
    """A table with the texts around it.

    Attributes:
        note: The paragraphs below the title, a line each.
        source: Address of the record behind it on the page (`latency/digits-cpu-1t`).
        folded: Whether it is shown only when asked for.
    """

    table: Table
    title: str = ""
    note: str = ""
    source: str = ""
    folded: bool = False


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture: its file as seen from the page, and its description."""

    source: str
    words: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page: paragraphs, tables, then pictures; `anchor` is its address."""

    anchor: str
    title: str
    texts: Sequence[str] = ()
    tables: Sequence[PageTable] = ()
    pictures: Sequence[Picture] = ()


def _ours(verdict: Verdict) -> Shown:
    return Shown(text=verdict.measured or NOTHING, link=address_of(verdict.evidence))


_DATASET = Column[Verdict](name="Data set", get="dataset")
_FIGURES = (
    Column[Verdict](name="Model", get="label"),
    Column[Verdict](name="Figure", get=lambda verdict: FIGURES[verdict.figure]),
    Column[Verdict](name="Published", get=lambda verdict: verdict.published or None, align="r"),
    Column[Verdict](name="Ours", get=_ours, align="r"),
)
_OUTCOME = Column[Verdict](name="Verdict", get="outcome", badge=True)
_WHY = Column[Verdict](name="Why", get="reason")
_COMMAND = Column[Verdict](name="What would tell", get="command")
_OF_DATASET = (*_FIGURES, _OUTCOME, _WHY, _COMMAND)

_COSTS = (
    Column[CostRecord](
        name="Model",
        get=lambda cost: Shown(text=cost.label, link=COSTS.address(cost)),
    ),
    Column[CostRecord](name="Pixels", get="image_size", align="r"),
    *COST_COLUMNS,
)


def first_sections(reproduction: Reproduction) -> list[Section]:
    """Return what comes before the table of all cells: whether what was published reproduces."""
    if not reproduction.attempted:
        return []
    verdicts = reproduction.verdicts
    differing = [verdict for verdict in verdicts if verdict.outcome == "differs"]
    tables = [
        PageTable(table=outcome_table(verdicts)),
        PageTable(
            title="What differs",
            note="" if differing else "Nothing that could be judged.",
            table=Table.of(differing, (_DATASET, *_FIGURES, _WHY)),
        ),
        *_folded("Every published figure of", verdicts, _OF_DATASET),
        PageTable(
            title="Where the publication contradicts itself",
            table=contradiction_table(reproduction.contradictions),
            folded=True,
        ),
    ]
    texts = [
        summarise(verdicts),
        "A figure is judged by a stated rule (verdicts.md has them all), and only on the data "
        "set's official images, at the published image size, on the published kind of device.",
    ]
    return [Section(anchor="verdicts", title="Does it reproduce?", texts=texts, tables=tables)]


def ranking_sections(
    material: Material, compared: Mapping[str, Sequence[SameImages]]
) -> list[Section]:
    """Return whether cells may be compared, and the rankings of each data set."""
    answers = [
        (name, same, describe_budgets(records))
        for name in material.datasets
        if (same := describe_fairness(records := _ran(material.of(name))))
    ]
    if not answers:
        return []
    header = ("Data set", "Same settings", "Same tuning budget")
    tables = [
        PageTable(
            title="Were the models trained alike?",
            table=Table.of_texts(header, answers, align="l"),
        )
    ]
    for name, groups in compared.items():
        tables += [
            PageTable(
                title=f"{name}: {ranking_title(group)}",
                note="\n".join(ranking_rules(group, f"{name}-mcnemar.csv")),
                table=ranking_table(group),
                folded=True,
            )
            for group in groups
        ]
    return [Section(anchor="ranking", title="Which model is better?", tables=tables)]


def tuning_sections(material: Material) -> list[Section]:
    """Return the searches for recipes, with Optuna's plots of their trials."""
    pictures = [
        Picture(
            source=stem.with_suffix(".svg").as_posix(),
            words=f"{record.label} on {record.cell.dataset}: {stem.name.rpartition('-')[2]}",
        )
        for record in material.tunings
        for stem in tuning_stems(record)
    ]
    section = Section(
        anchor="tuning",
        title="Tuning",
        texts=[
            "Trials are judged by training images that are held out, never by test images. The "
            "figures are Optuna's, of complete trials."
        ],
        tables=[PageTable(table=tuning_table(material.tunings))],
        pictures=pictures,
    )
    return [section] if pictures else []


def last_sections(material: Material) -> list[Section]:
    """Return what comes after the figures."""
    latencies = Section(
        anchor="latencies",
        title="Latency side by side",
        texts=[
            "Times drift on a shared machine; these models were timed in the same rounds, so that "
            "their ratios hold."
        ],
        tables=[
            PageTable(
                title=f"{record.dataset}, {describe_device(record)}",
                note=f"{describe_comparison(record)}.",
                source=LATENCIES.address(record),
                table=latency_table(record),
            )
            for record in material.latencies
        ],
    )
    costs = Section(
        anchor="costs",
        title="Costs counted",
        texts=[
            "Operations and bytes at the shape of each data set; no images and no clock needed."
        ],
        tables=_folded("Costs at the shape of", material.costs, _COSTS),
    )
    return [section for section in (latencies, costs) if section.tables]


def _folded(title: str, items: Iterable[Any], columns: Sequence[Column[Any]]) -> list[PageTable]:
    """Return a table for each data set, shown when asked for."""
    return [
        PageTable(title=f"{title} {dataset}", table=Table.of(group, columns), folded=True)
        for dataset, group in groupby(items, key=attrgetter("dataset"))
    ]


def _ran(material: Material) -> list[Record]:
    return [record for record in material.records if record.status == "ok"]
