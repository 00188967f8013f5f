"""Ranks of cells on the same test images, and which of their differences are more than chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

from harness.records.cell import Record
from harness.records.predictions import Predictions
from harness.report.rows import accuracy_interval, group_runs
from harness.report.statistics import McNemarTest, holm, mcnemar, rank_intervals
from harness.report.table import Table, write_csv

FindPredictions = Callable[[Record], tuple[Predictions | None, str]]

LEVEL = 0.05
# Pairs grow with the square; of more cells than this on one test set, only the best are paired.
MOST_PAIRED = 40
_HEADER = ("Rank", "Model", "Top-1 % (95%)", "Not told apart from")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two cells on the same test images, and how likely their difference is by chance."""

    first: Record
    second: Record
    test: McNemarTest
    p_holm: float

    @property
    def different(self) -> bool:
        """Whether the difference is more than chance."""
        return self.p_holm < LEVEL


@dataclass(frozen=True, kw_only=True)
class SameImages:
    """The cells that were evaluated on the same images, best first.

    Attributes:
        ranks: The rank of each cell.
        pairs: Every two cells whose predictions are kept.
        left_out: Why the predictions of the other cells cannot be used, by title.
    """

    records: Sequence[Record]
    ranks: Sequence[int]
    pairs: Sequence[Pair]
    left_out: dict[str, str]


def compare_cells(records: Sequence[Record], find: FindPredictions) -> list[SameImages]:
    """Return the cells of one data set in groups of two or more, each on images of its own."""
    alike: dict[tuple[str, int | None], list[Record]] = {}
    for first, *_ in group_runs(records):
        if first.status == "ok" and first.accuracy.accuracy_top1 is not None:
            alike.setdefault((first.data.data_sha256, first.accuracy.n_test), []).append(first)
    return [_compare(group, find) for group in alike.values() if len(group) > 1]


def render_ranking(groups: Sequence[SameImages], csv_name: str) -> str:
    """Return a Markdown section on each group; empty without any."""
    return "".join(_section(group, csv_name) for group in groups)


def render_pairs(groups: Sequence[SameImages]) -> str:
    """Return every pair as CSV."""
    rows = (
        {
            "images": pair.first.accuracy.n_test,
            "data": pair.first.data.data_name,
            "first": pair.first.stem,
            "second": pair.second.stem,
            "only_first_right": pair.test.only_first,
            "only_second_right": pair.test.only_second,
            "p_exact": pair.test.p_exact,
            "p_mid": pair.test.p_mid,
            "p_holm": pair.p_holm,
            "different": pair.different,
        }
        for group in groups
        for pair in group.pairs
    )
    return write_csv(rows, digits=6)


def _compare(group: list[Record], find: FindPredictions) -> SameImages:
    best = sorted(group, key=lambda r: (-(r.accuracy.accuracy_top1 or 0), r.stem))
    figures = [record.accuracy for record in best]
    bounds = [(f.accuracy_top1_low or 0.0, f.accuracy_top1_high or 100.0) for f in figures]
    kept: list[tuple[Record, Predictions]] = []
    left_out: dict[str, str] = {}
    for record in best[:MOST_PAIRED]:
        predictions, reason = find(record)
        if predictions is None:
            left_out[_name(record)] = reason
        else:
            kept.append((record, predictions))
    return SameImages(
        records=best, ranks=rank_intervals(bounds), pairs=_pair_up(kept), left_out=left_out
    )


def _pair_up(kept: Sequence[tuple[Record, Predictions]]) -> list[Pair]:
    found = []
    for (first, ours), (second, theirs) in combinations(kept, 2):
        # The same images in another order cannot be compared one by one.
        if (ours.labels_sha256, ours.images) == (theirs.labels_sha256, theirs.images):
            a, b = ours.right_bits, theirs.right_bits
            found.append((first, second, mcnemar((a & ~b).bit_count(), (b & ~a).bit_count())))
    corrected = holm([test.p_mid for _, _, test in found])
    return [
        Pair(first=first, second=second, test=test, p_holm=p)
        for (first, second, test), p in zip(found, corrected, strict=True)
    ]


def _section(group: SameImages, csv_name: str) -> str:
    first = group.records[0]
    alike: dict[str, list[str]] = {}
    for pair in group.pairs:
        for one, other in permutations((pair.first, pair.second)):
            names = alike.setdefault(one.stem, [])
            if not pair.different:
                names.append(_name(other))
    ties = {stem: ", ".join(names) or "none: all are told apart" for stem, names in alike.items()}
    rows = []
    for rank, record in zip(group.ranks, group.records, strict=True):
        percent = f"{record.accuracy.accuracy_top1:.2f} {accuracy_interval(record)}".rstrip()
        rows.append((rank, _name(record), percent, ties.get(record.stem)))
    table = Table.of_texts(_HEADER, rows, align="rlrl").markdown()
    title = f"\n## Ranking on the {first.accuracy.n_test} test images of {first.data.data_name}\n\n"
    return title + "\n".join([table, *_rules(group, csv_name)]) + "\n"


def _rules(group: SameImages, csv_name: str) -> list[str]:
    lines = ["Rank: one more than the number of models whose 95% interval lies wholly above."]
    if group.pairs:
        lines.append(
            "Pairs: McNemar's test on the same images, mid-p, corrected for all "
            f"{len(group.pairs)} pairs (Holm); not told apart: p ≥ {LEVEL}. "
            f"All pairs: [{csv_name}]({csv_name})."
        )
    more = len(group.records) - MOST_PAIRED
    if more > 0:
        lines.append(f"Only the best {MOST_PAIRED} are paired, {more} are not.")
    reasons: dict[str, list[str]] = {}
    for title, reason in group.left_out.items():
        reasons.setdefault(reason, []).append(title)
    lines += [f"Not paired, {reason}: {', '.join(names)}." for reason, names in reasons.items()]
    return lines


def _name(record: Record) -> str:
    return record.title + (" (GPU)" if record.cell.device == "cuda" else "")
