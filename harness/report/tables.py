"""The table of a data set, records beside published cells, in Markdown and on the terminal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count, groupby, product
from string import ascii_lowercase

from harness.records.cell import Record
from harness.records.comparability import (
    describe_budget,
    describe_budgets,
    describe_fairness,
)
from harness.records.parts import Compression
from harness.report.columns import columns_of
from harness.report.rows import Row, make_rows
from harness.report.table import Column, Table
from harness.report.terminal import print_table

_MODEL = Column[Row](name="Model", get="title")


class Footnotes:
    """Gives texts letters in the order in which they are first used."""

    def __init__(self) -> None:
        # From a to z, then aa, ab and so on.
        words = (product(ascii_lowercase, repeat=length) for length in count(1))
        letters = map("".join, chain.from_iterable(words))
        self.letters: dict[str, str] = defaultdict(lambda: next(letters))

    def mark(self, texts: Iterable[str]) -> str:
        """Return the letters of texts, joined by spaces."""
        return " ".join(self.letters[text] for text in texts)


def print_records(records: Sequence[Record], title: str = "measured beside published") -> None:
    """Print a table for each data set: what was run, with the notes in the rows."""
    notes = Column[Row](name="Notes", get=lambda row: "; ".join(row_notes(row)))
    for dataset, group in groupby(records, key=lambda record: record.cell.dataset):
        members = list(group)
        rows = [row for row in make_rows(members) if row.runs]
        print_table(Table.of(rows, (_MODEL, *columns_of(rows), notes), f"{dataset}: {title}"))
        if fairness := describe_fairness(members):
            print(f"fair: {fairness}")
        if budgets := describe_budgets(members):
            print(f"same tuning budget: {budgets}")


def render_markdown(rows: Sequence[Row], records: Sequence[Record]) -> str:
    """Return a Markdown table of one data set, with footnotes on the origin of its figures.

    Below it are the images and the machines of the records.
    """
    footnotes = Footnotes()
    notes = Column[Row](name="Notes", get=lambda row: footnotes.mark(row_notes(row)))
    table = Table.of(rows, [_MODEL, *columns_of(rows), notes]).markdown()
    texts = [f"- {letter}: {text}" for text, letter in footnotes.letters.items()]
    return "\n".join([table, *texts, *_sources(records)]) + "\n"


def row_notes(row: Row) -> list[str]:
    """Return the notes on a row: where its figures are from, or why it has none."""
    record = row.record
    if record is None:
        size = f"counted at {row.cost.image_size} px" if row.cost else "not counted"
        return [f"not run; costs {size}"]
    notes = _notes(record)
    if len(row.runs) > 1:
        seeds = ", ".join(str(run.settings.seed) for run in row.runs)
        notes.append(f"mean ± standard deviation of {len(row.runs)} runs, seeds {seeds}")
    return notes


def _notes(record: Record) -> list[str]:
    if record.status != "ok":
        return [f"{record.status}: {record.reason}"]
    weights, size = record.weights, record.settings.image_size
    notes = [f"{weights.weights_origin} weights at {size} px"]
    if weights.weights_origin == "trained":
        epochs = f"{weights.epochs} epoch{'s' if weights.epochs != 1 else ''}"
        stages = {entry.stage for entry in weights.history}
        if len(stages) > 1:
            epochs = f"{epochs} in {len(stages)} stages"
        minutes = (weights.training_seconds or 0) / 60
        notes = [f"{epochs} at {size} px from {weights.start} weights, {minutes:.1f} min"]
        if tuning := record.settings.settings.get("tuning"):
            notes.append(f"recipe found in {describe_budget(tuning)}")
        trained, params = record.operations.params_trainable, record.operations.params
        if trained is not None and params is not None and trained < params:
            notes.append(f"{trained / 1e6:.2f} of {params / 1e6:.2f} M parameters trained")
    if record.paths:
        shortest, longest = record.paths[0].gmacs, record.paths[-1].gmacs
        notes.append(f"mean of {len(record.paths)} paths, {shortest:.3g}–{longest:.3g} GMACs")
    notes += _compression_notes(record.compression)
    if record.accuracy.accuracy_fp32_check:
        check, precision = record.accuracy.accuracy_fp32_check, record.accuracy.precision
        notes.append(
            f"{precision}: {check['changed']} of {check['images']} images change class, "
            f"{check[f'accuracy_{precision}'] - check['accuracy_fp32']:+.2f} points"
        )
    if record.machine.busy:
        notes.append(f"costs on a busy machine: {record.machine.busy}")
    if not record.data.data_official:
        notes.append(f"images of {record.data.data_name}, not the official split")
    return notes


def _compression_notes(found: Compression | None) -> list[str]:
    if found is None:
        return []
    brought = (
        f"× {found.base}: latency {found.latency_ratio_to_base:.2f}, "
        f"weights {found.weights_ratio_to_base:.2f}"
    )
    if found.speed_up:
        brought += f", MACs {1 / found.speed_up:.2f}"
    steps = {
        f"{found.base} itself": found.accuracy_base,
        "fake-quantised": found.accuracy_fake_quantized,
        "pruned, before fine-tuning": found.accuracy_pruned,
    }
    known = [f"{text} {value:.2f}%" for text, value in steps.items() if value is not None]
    return [brought, ", ".join(known)] if known else [brought]


def _sources(records: Sequence[Record]) -> list[str]:
    """Return which images, machines and precisions the figures are from."""
    ran = [record for record in records if record.status == "ok"]
    images, machines = [], []
    for record in ran:
        data, machine, precision = record.data, record.machine, record.accuracy.precision
        split = "the data set's own split" if data.data_official else "**not the official split**"
        images.append(f"- Images: {data.data_name}, {split}, SHA-256 `{data.data_sha256[:16]}…`")
        machines.append(
            f"- Machine: {machine.device_name}, {machine.threads} CPU threads; latency at batch 1 "
            f"in {'int8' if precision == 'int8' else 'fp32'}, accuracy in {precision}"
        )
    lines = list(dict.fromkeys([*images, *machines, *_processors_of_one_name(ran)]))
    for what, answer in (
        ("same settings", describe_fairness(ran)),
        ("same tuning budget", describe_budgets(ran)),
    ):
        lines += [f"- Fair ({what}): {answer}"] if answer else []
    return lines


def _processors_of_one_name(records: Sequence[Record]) -> Iterator[str]:
    """Yield which rows are from which processor, where several have the same name.

    Virtual machines name their processor by the family alone; its instruction sets tell more.
    """
    found: defaultdict[str, defaultdict[frozenset[str], list[str]]]
    found = defaultdict(lambda: defaultdict(list))
    for record in records:
        flags = record.provenance.environment.get("cpu_flags")
        if flags and record.cell.device == "cpu":
            found[record.machine.device_name][frozenset(flags)].append(record.title)
    for name, by_flags in found.items():
        common = frozenset.intersection(*by_flags)
        rows = []
        for flags, titles in by_flags.items():
            own = ", ".join(sorted(flags - common))
            rows.append(f"{f'with {own}' if own else 'without'}: {', '.join(titles)}")
        if len(rows) > 1:
            yield (
                f"- **Several processors are called {name}** ({'; '.join(rows)}): latencies and "
                "images/s are comparable within each alone"
            )
