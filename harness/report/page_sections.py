"""Sections of the page: the verdicts, latencies side by side, costs that were counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import get_args

from harness.records.cost import CostRecord, cost_place
from harness.records.latency import LatencyRecord, latency_place
from harness.records.material import Material
from harness.report.costs import COST_HEADER, cost_cells
from harness.report.latency import HEADER, comparison_rows, describe_comparison, describe_device
from harness.report.page_parts import PageTable, Section, address_of
from harness.report.verdicts import FIGURES, summarise
from harness.reproduction.contradictions import Contradiction
from harness.reproduction.judging import Reproduction
from harness.reproduction.verdict import Outcome, Verdict

_OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


def first_sections(reproduction: Reproduction) -> list[Section]:
    """Return what comes before the table of all cells: whether what was published reproduces."""
    if not reproduction.attempted:
        return []
    verdicts = reproduction.verdicts
    tables = [
        _counts(verdicts),
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


def _counts(verdicts: Sequence[Verdict]) -> PageTable:
    counts = Counter((verdict.figure, verdict.outcome) for verdict in verdicts)
    rows = [
        [title, *(str(counts[figure, outcome]) for outcome in _OUTCOMES)]
        for figure, title in FIGURES.items()
    ]
    return PageTable(header=["Figure", *_OUTCOMES], rows=rows, numeric=range(1, 4))


def _differing(verdicts: Sequence[Verdict]) -> PageTable:
    found = [verdict for verdict in verdicts if verdict.outcome == "differs"]
    rows = [[v.dataset, v.label, *_figures(v), v.reason] for v in found]
    return PageTable(
        title="What differs",
        note="" if found else "Nothing that could be judged.",
        header=["Data set", "Model", "Figure", "Published", "Ours", "Why"],
        rows=rows,
        links=[address_of(verdict.evidence) for verdict in found],
        linked=4,
        numeric=(3, 4),
    )


def _of_dataset(dataset: str, verdicts: Sequence[Verdict]) -> PageTable:
    return PageTable(
        title=f"Every published figure of {dataset}",
        header=["Model", "Figure", "Published", "Ours", "Verdict", "Why", "What would tell"],
        rows=[[v.label, *_figures(v), v.outcome, v.reason, v.command] for v in verdicts],
        links=[address_of(verdict.evidence) for verdict in verdicts],
        linked=3,
        numeric=(2, 3),
        badges=(4,),
        folded=True,
    )


def _figures(verdict: Verdict) -> list[str]:
    return [FIGURES[verdict.figure], verdict.published or "–", verdict.measured or "–"]


def _contradictions(contradictions: Sequence[Contradiction]) -> PageTable:
    rows = [
        [str(number), each.printed, each.ours or f"not measured yet: {each.command}"]
        for number, each in enumerate(contradictions, start=1)
    ]
    return PageTable(
        title="Where the publication contradicts itself",
        header=["", "What is printed", "Our figures"],
        rows=rows,
        numeric=(0,),
        folded=True,
    )


def _comparison(record: LatencyRecord) -> PageTable:
    path = latency_place(record.dataset, record.device, record.machine.threads)
    return PageTable(
        title=f"{record.dataset}, {describe_device(record)}",
        note=f"{describe_comparison(record)}.",
        source=address_of(path.as_posix()),
        header=HEADER,
        rows=comparison_rows(record),
        numeric=range(2, len(HEADER) - 1),
    )


def _costs(dataset: str, records: Sequence[CostRecord]) -> PageTable:
    paths = [cost_place(dataset, each.model, each.image_size) for each in records]
    return PageTable(
        title=f"Costs at the shape of {dataset}",
        header=["Model", "Pixels", *COST_HEADER],
        rows=[[each.label, str(each.image_size), *cost_cells(each)] for each in records],
        links=[address_of(path.as_posix()) for path in paths],
        numeric=range(1, 2 + len(COST_HEADER)),
        folded=True,
    )
