"""The answer to "does it reproduce?": a verdict on every published figure, and a page of them."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby

from harness.records.cell import Record
from harness.records.cost import CostRecord
from harness.records.latency import LatencyRecord
from harness.records.published import PublishedConditions, published_cells, published_conditions
from harness.report.contradictions import explain, render_contradictions
from harness.report.judging import (
    ACCURACY_MARGIN,
    LATENCY_FACTOR,
    LEVEL,
    Figure,
    Outcome,
    Verdict,
    judge_accuracy,
    judge_latency,
)
from harness.report.judging_costs import SIZE_TOLERANCE, judge_count, judge_size
from harness.report.material import Material
from harness.report.missing import cost_command, gpu_latency_command, run_command
from harness.report.rows import REFERENCE, published_costs

_SIGNS: dict[Outcome, str] = {"reproduced": "✓", "differs": "✗", "cannot be judged": "?"}
FIGURES: dict[Figure, str] = {
    "accuracy": "Top-1 %",
    "latency": "Latency ÷ ResNet-50",
    "size": "Size MB",
    "count": "thop GMACs",
}

_COMMANDS = {
    "accuracy": run_command,
    "latency": gpu_latency_command,
    "size": cost_command,
    "count": cost_command,
}


def judge_all(
    records: Sequence[Record], costs: Sequence[CostRecord], latencies: Sequence[LatencyRecord]
) -> list[Verdict]:
    """Return a verdict on each figure of each published row, in the published order."""
    cells, conditions = published_cells(), published_conditions()
    verdicts: list[Verdict] = []
    for dataset in dict.fromkeys(name for name, _ in cells):
        ours = [record for record in records if record.cell.dataset == dataset]
        timed = [each for each in latencies if each.dataset == dataset]
        counted = published_costs(each for each in costs if each.dataset == dataset)
        for key in (key for key in cells if key[0] == dataset):
            cell, model = cells[key], key[1]
            runs = [record for record in ours if record.cell.model == model]
            cost, shaped = counted.get(model), _shaped(runs, conditions[key])
            verdicts += [
                judge_accuracy(cell, conditions[key], runs),
                judge_latency(cell, conditions[key], cells.get((dataset, REFERENCE)), timed),
                judge_size(cell, cost, shaped),
                judge_count(cell, cost, shaped),
            ]
    return [_with_hints(verdict, verdicts) for verdict in verdicts]


def render_summary(verdicts: Sequence[Verdict]) -> str:
    """Return how many published figures reproduce, by kind, and which do not, as Markdown."""
    lines = [
        summarise(verdicts),
        "",
        "| | reproduced | differs | cannot be judged |",
        "| :--- | ---: | ---: | ---: |",
    ]
    for figure, title in FIGURES.items():
        counts = Counter(v.outcome for v in verdicts if v.figure == figure)
        lines.append(f"| {title} | " + " | ".join(str(counts[name]) for name in _SIGNS) + " |")
    return "\n".join([*lines, "", "What differs:", "", *_differing(verdicts)]) + "\n"


def render_verdicts(verdicts: Sequence[Verdict], material: Material) -> str:
    """Return the page of all verdicts, the rules behind them, and the contradictions."""
    tables = [
        f"\n### {dataset}\n\n{_table(list(group))}"
        for dataset, group in groupby(verdicts, key=lambda verdict: verdict.dataset)
    ]
    return "".join(
        (
            f"# Does it reproduce?\n\n{render_summary(verdicts)}",
            "\n## Every figure\n\nPublished → ours; ✓ reproduced, ✗ differs, ? cannot be judged. "
            "Latency is the ratio to ResNet-50\nin the same table. Each reason is in "
            "[verdicts.csv](verdicts.csv).\n",
            *tables,
            f"\n## What cannot be judged\n\n{_unjudged(verdicts)}",
            f"\n## The rules\n\n{_RULES}",
            "\n## Where the publication contradicts itself\n\n",
            render_contradictions(material),
        )
    )


def render_verdicts_csv(verdicts: Iterable[Verdict]) -> str:
    """Return every verdict as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [field.name for field in dataclasses.fields(Verdict)]
    writer.writerow(names)
    for verdict in verdicts:
        values = (getattr(verdict, name) for name in names)
        writer.writerow(f"{v:.6g}" if isinstance(v, float) else v for v in values)
    return out.getvalue()


_RULES = f"""\
- **Accuracy**: by a record on the data set's official test images, at the published image size, of
  the published weights, or of weights trained from the published start. Reproduced: surely within
  {ACCURACY_MARGIN:g} point (two one-sided z-tests, p < {LEVEL}, with the sizes of both test sets).
  Else differs: by more than chance (two-proportion z-test, p < {LEVEL}). Neither: cannot be judged.
  Other images in place of the official ones are never judged.
- **Latency**: by the ratio to ResNet-50 in the same rounds of `--measure latency`, on the kind of
  device that was published (a GPU), neither drifting nor busy. Reproduced: its 95% interval comes
  within a factor of {LATENCY_FACTOR} of the ratio of the printed times. Absolute times are never
  judged.
- **Size**: by the file that `torch.save` makes of the network at the published shape, which takes
  no training. Reproduced: within {SIZE_TOLERANCE:.1%}, or half a unit of the last printed digit; of
  a range, both ends.
- **Count**: by what thop counts at the published shape. Reproduced: equal when rounded to the
  printed digits; of a range, both ends. The true count stands beside it.
"""


def _shaped(records: Sequence[Record], conditions: PublishedConditions) -> Record | None:
    """Return a record at the published image size, of published weights before others."""
    ran = [r for r in records if r.status == "ok" and not r.settings.repeat]
    fitting = [r for r in ran if r.settings.image_size == conditions.image_size]
    return min(fitting, key=lambda r: (not r.published, r.cell.device), default=None)


def _with_hints(verdict: Verdict, verdicts: Sequence[Verdict]) -> Verdict:
    """Return a verdict that differs with the reason why, as far as it is known."""
    if verdict.outcome != "differs":
        return verdict
    alike = [v for v in verdicts if (v.model, v.figure) == (verdict.model, verdict.figure)]
    shapes = [v.dataset for v in alike if v.measured == verdict.published]
    number, hints = explain(verdict.dataset, verdict.model, verdict.figure), []
    if shapes and verdict.figure in ("size", "count"):
        hints.append(f"{verdict.published} is what the shape of {' and '.join(shapes)} has")
    hints += [f"contradiction {number}"] if number else []
    return replace(verdict, reason="; ".join([verdict.reason, *hints]))


def summarise(verdicts: Sequence[Verdict]) -> str:
    """Return in a sentence how many published figures reproduce."""
    counts = Counter(verdict.outcome for verdict in verdicts)
    return (
        f"Of the {len(verdicts)} published figures {counts['reproduced']} reproduce, "
        f"{counts['differs']} differ and {counts['cannot be judged']} cannot be judged yet."
    )


def _differing(verdicts: Sequence[Verdict]) -> list[str]:
    lines = [
        f"- {v.dataset}, {v.label}, {FIGURES[v.figure]}: {v.reason}."
        for v in verdicts
        if v.outcome == "differs"
    ]
    return lines or ["- Nothing that could be judged."]


def _table(verdicts: Sequence[Verdict]) -> str:
    lines = [
        "| Model | " + " | ".join(FIGURES.values()) + " |",
        "| :--- |" + " :--- |" * len(FIGURES),
    ]
    for label, group in groupby(verdicts, key=lambda verdict: verdict.label):
        cells = [f"{_SIGNS[v.outcome]} {v.published or '–'} → {v.measured or '–'}" for v in group]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _unjudged(verdicts: Sequence[Verdict]) -> str:
    groups: dict[tuple[str, Figure, str, bool], list[Verdict]] = {}
    for v in verdicts:
        if v.outcome == "cannot be judged":
            groups.setdefault((v.dataset, v.figure, v.reason, bool(v.command)), []).append(v)
    lines = []
    for (dataset, figure, reason, helps), group in groups.items():
        command = _COMMANDS[figure](dataset, [v.model for v in group])
        more = f": `{command}`" if helps else ""
        lines.append(
            f"- {dataset}, {FIGURES[figure]} of {', '.join(v.label for v in group)}: {reason}{more}"
        )
    return "\n".join(lines or ["Nothing."]) + "\n"
