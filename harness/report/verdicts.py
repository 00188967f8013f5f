"""The verdicts on the published figures: Markdown page, summary and CSV file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import groupby

from harness.report.table import Table, write_csv
from harness.reproduction.accuracy import ACCURACY_MARGIN, LEVEL
from harness.reproduction.contradictions import Contradiction
from harness.reproduction.costs import SIZE_TOLERANCE
from harness.reproduction.judging import Reproduction
from harness.reproduction.latency import LATENCY_FACTOR
from harness.reproduction.verdict import (
    Command,
    Figure,
    Outcome,
    Verdict,
    cost_command,
    gpu_latency_command,
    run_command,
)

_SIGNS: dict[Outcome, str] = {"reproduced": "✓", "differs": "✗", "cannot be judged": "?"}
FIGURES: dict[Figure, str] = {
    "accuracy": "Top-1 %",
    "latency": "Latency ÷ ResNet-50",
    "size": "Size MB",
    "count": "thop GMACs",
}

_COMMANDS: dict[Figure, Command] = {
    "accuracy": run_command,
    "latency": gpu_latency_command,
    "size": cost_command,
    "count": cost_command,
}


def render_summary(verdicts: Sequence[Verdict]) -> str:
    """Return how many published figures reproduce, by kind, and which do not, as Markdown."""
    counts = outcome_table(verdicts).markdown()
    differing = [
        f"- {v.dataset}, {v.label}, {FIGURES[v.figure]}: {v.reason}."
        for v in verdicts
        if v.outcome == "differs"
    ] or ["- Nothing that could be judged."]
    return "\n".join([summarise(verdicts), "", counts, "What differs:", "", *differing, ""])


def outcome_table(verdicts: Iterable[Verdict]) -> Table:
    """Return how many figures of each kind have each outcome."""
    counts = Counter((verdict.figure, verdict.outcome) for verdict in verdicts)
    rows = [
        [title, *(counts[figure, outcome] for outcome in _SIGNS)]
        for figure, title in FIGURES.items()
    ]
    return Table.of_texts(["Figure", *_SIGNS], rows)


def contradiction_table(contradictions: Iterable[Contradiction], quote: str = "") -> Table:
    """Return the contradictions by number; commands stand in quotes."""
    rows = [
        (number, each.printed, each.ours or f"not measured yet: {quote}{each.command}{quote}")
        for number, each in enumerate(contradictions, start=1)
    ]
    return Table.of_texts(("No.", "What is printed", "Our figures"), rows, align="rl")


def render_verdicts(reproduction: Reproduction) -> str:
    """Return the page of all verdicts, the rules behind them, and the contradictions."""
    verdicts = reproduction.verdicts
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
            contradiction_table(reproduction.contradictions, quote="`").markdown(),
        )
    )


def render_verdicts_csv(verdicts: Iterable[Verdict]) -> str:
    """Return every verdict as CSV."""
    return write_csv(map(asdict, verdicts), digits=6)


_RULES = f"""\
- **Accuracy**: by a record on the data set's official test images, at the published image size, of
  the published weights, or of weights trained from the published start. Reproduced: surely within
  {ACCURACY_MARGIN:g} point (two one-sided z-tests, p < {LEVEL}, with the sizes of both test sets).
  Else differs: by more than chance (two-proportion z-test, p < {LEVEL}). Neither: cannot be judged.
  Where the published accuracy leaves out test images, each may have been classified either way.
  Other images in place of the official ones are never judged.
- **Latency**: by the ratio to ResNet-50 in the same rounds of `--measure latency`, on the kind of
  device that was published (a GPU), neither drifting nor busy. Reproduced: its 95% interval comes
  within a factor of {LATENCY_FACTOR} of the ratio of the printed times. Absolute times are never
  judged, nor is the ratio of a time on a CPU to one on a GPU, as it is printed of ResNet-50 QAT.
- **Size**: by the file that `torch.save` makes of the network at the published shape, which takes
  no training. Reproduced: within {SIZE_TOLERANCE:.1%}, or half a unit of the last printed digit; of
  a range, both ends.
- **Count**: by what thop counts at the published shape. Reproduced: equal when rounded to the
  printed digits; of a range, both ends. The true count stands beside it.
"""


def summarise(verdicts: Sequence[Verdict]) -> str:
    """Return in a sentence how many published figures reproduce."""
    counts = Counter(verdict.outcome for verdict in verdicts)
    return (
        f"Of the {len(verdicts)} published figures {counts['reproduced']} reproduce, "
        f"{counts['differs']} differ and {counts['cannot be judged']} cannot be judged yet."
    )


def _table(verdicts: Sequence[Verdict]) -> str:
    rows = [
        [label, *(f"{_SIGNS[v.outcome]} {v.published or '–'} → {v.measured or '–'}" for v in group)]
        for label, group in groupby(verdicts, key=lambda verdict: verdict.label)
    ]
    return Table.of_texts(["Model", *FIGURES.values()], rows, align="l").markdown()


def _unjudged(verdicts: Sequence[Verdict]) -> str:
    groups: dict[tuple[str, Figure, str, bool], list[Verdict]] = {}
    for v in verdicts:
        if v.outcome == "cannot be judged":
            groups.setdefault((v.dataset, v.figure, v.reason, bool(v.command)), []).append(v)
    lines = []
    for (dataset, figure, reason, helps), group in groups.items():
        command = group[0].command
        if len(group) > 1:
            command = _COMMANDS[figure](dataset, [v.model for v in group])
        more = f": `{command}`" if helps else ""
        lines.append(
            f"- {dataset}, {FIGURES[figure]} of {', '.join(v.label for v in group)}: {reason}{more}"
        )
    return "\n".join(lines or ["Nothing."]) + "\n"
