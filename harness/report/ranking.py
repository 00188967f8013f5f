"""Ranks of cells on the same test images, and which of their differences are more than chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations

from harness.records.cell import Record
from harness.records.predictions import Predictions
from harness.report.rows import accuracy_interval, group_runs
from harness.report.statistics import (
    RESAMPLES,
    McNemarTest,
    bootstrap_ranks,
    detectable_paired,
    detectable_unpaired,
    holm,
    mcnemar,
)
from harness.report.table import NOTHING, Shown, Table, write_csv

FindPredictions = Callable[[Record], tuple[Predictions | None, str]]

LEVEL = 0.05
# Pairs grow with the square; of more cells than this on one test set, only the best are paired.
MOST_PAIRED = 40
_HEADER = ("Rank (95%)", "Model", "Top-1 % (95%)", "Detectable difference", "Not told apart from")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two cells on the same test images, and how likely their difference is by chance."""

    first: Record
    second: Record
    images: int
    test: McNemarTest
    p_holm: float

    @property
    def detectable(self) -> float | None:
        """The smallest difference that the test would find, percent; see `detectable_paired`."""
        discordant = (self.test.only_first + self.test.only_second) / self.images
        return _percent(detectable_paired(discordant, self.images))

    @property
    def different(self) -> bool:
        """Whether the difference is more than chance."""
        return self.p_holm < LEVEL


@dataclass(frozen=True, kw_only=True)
class SameImages:
    """The cells that were evaluated on the same images, best first.

    Attributes:
        images: The number of test images; None where the records do not have it.
        ranks: Of each cell, one more than the number of more accurate ones.
        intervals: The 95% interval of each rank; empty where `images` is None.
        resampled: The cells whose ranks are from images drawn for all of them alike.
        pairs: Every two cells whose predictions are kept.
        left_out: Why the predictions of the other cells cannot be used, by title.
    """

    records: Sequence[Record]
    images: int | None
    ranks: Sequence[int]
    intervals: Sequence[tuple[int, int]]
    resampled: Sequence[Record]
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
    return "".join(
        f"\n## Ranking on the {ranking_title(group)}\n\n{ranking_table(group).markdown()}\n"
        + "\n".join(ranking_rules(group, f"[{csv_name}]({csv_name})"))
        + "\n"
        for group in groups
    )


def ranking_title(group: SameImages) -> str:
    """Return the test images of a group in words."""
    images = "" if group.images is None else f"{group.images} "
    return f"{images}test images of {group.records[0].data.data_name}"


def ranking_table(group: SameImages) -> Table:
    """Return a row for each cell of a group, the best first."""
    alike: dict[str, list[str]] = {}
    for pair in group.pairs:
        for one, other in permutations((pair.first, pair.second)):
            names = alike.setdefault(one.stem, [])
            if not pair.different:
                names.append(_name(other))
    ties = {stem: ", ".join(names) or "none: all are told apart" for stem, names in alike.items()}
    paired = {(pair.first.stem, pair.second.stem): pair for pair in group.pairs}
    rows = []
    for place, record in enumerate(group.records):
        interval = "({}–{})".format(*group.intervals[place]) if group.intervals else ""
        above = group.records[place - 1] if place else None
        rows.append(
            (
                f"{group.ranks[place]} {interval}".rstrip(),
                Shown(text=_name(record), link=f"{record.cell.dataset}/{record.stem}"),
                f"{record.accuracy.accuracy_top1:.2f} {accuracy_interval(record)}".rstrip(),
                _detectable(above, record, paired),
                ties.get(record.stem),
            )
        )
    return Table.of_texts(_HEADER, rows, align="rlrrl")


def ranking_rules(group: SameImages, csv_link: str) -> list[str]:
    """Return how the table of a group is to be read, a paragraph each."""
    lines = _rank_rules(group, group.images) if group.images else ["Rank: by accuracy."]
    if group.pairs:
        lines.append(
            "Pairs: McNemar's test on the same images, mid-p, corrected for all "
            f"{len(group.pairs)} pairs (Holm); not told apart: p ≥ {LEVEL}. "
            f"All pairs: {csv_link}."
        )
    more = len(group.records) - MOST_PAIRED
    if more > 0:
        lines.append(f"Only the best {MOST_PAIRED} are paired, {more} are not.")
    reasons: dict[str, list[str]] = {}
    for title, reason in group.left_out.items():
        reasons.setdefault(reason, []).append(title)
    lines += [f"Not paired, {reason}: {', '.join(names)}." for reason, names in reasons.items()]
    return lines


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
            "detectable_points": pair.detectable,
            "different": pair.different,
        }
        for group in groups
        for pair in group.pairs
    )
    return write_csv(rows, digits=6)


def _compare(group: list[Record], find: FindPredictions) -> SameImages:
    best = sorted(group, key=lambda r: (-(r.accuracy.accuracy_top1 or 0), r.stem))
    kept: list[tuple[Record, Predictions]] = []
    left_out: dict[str, str] = {}
    for record in best[:MOST_PAIRED]:
        predictions, reason = find(record)
        if predictions is None:
            left_out[_name(record)] = reason
        else:
            kept.append((record, predictions))
    scores = [record.accuracy.accuracy_top1 for record in best]
    images = best[0].accuracy.n_test
    alike = [each for each in kept if _order(each[1]) == (kept[0][1].labels_sha256, images)]
    return SameImages(
        records=best,
        images=images,
        ranks=[1 + scores.index(score) for score in scores],
        intervals=[] if images is None else _intervals(best, alike, images),
        resampled=[record for record, _ in alike],
        pairs=_pair_up(kept),
        left_out=left_out,
    )


def _intervals(
    best: Sequence[Record], alike: Sequence[tuple[Record, Predictions]], images: int
) -> list[tuple[int, int]]:
    """Return `SameImages.intervals`; `alike` have predictions of the same images in one order."""
    resampled = {record.stem: found.right_array for record, found in alike}
    others = [record for record in best if record.stem not in resampled]
    accuracies = [(record.accuracy.accuracy_top1 or 0) / 100 for record in others]
    found = bootstrap_ranks(list(resampled.values()), accuracies, images)
    stems = [*resampled, *(record.stem for record in others)]
    intervals = dict(zip(stems, found, strict=True))
    return [intervals[record.stem] for record in best]


def _pair_up(kept: Sequence[tuple[Record, Predictions]]) -> list[Pair]:
    found = []
    for (first, ours), (second, theirs) in combinations(kept, 2):
        # The same images in another order cannot be compared one by one.
        if _order(ours) == _order(theirs):
            a, b = ours.right_bits, theirs.right_bits
            test = mcnemar((a & ~b).bit_count(), (b & ~a).bit_count())
            found.append(Pair(first=first, second=second, images=ours.images, test=test, p_holm=1))
    corrected = holm([pair.test.p_mid for pair in found])
    return [replace(pair, p_holm=p) for pair, p in zip(found, corrected, strict=True)]


def _rank_rules(group: SameImages, images: int) -> list[str]:
    alone = [_name(record) for record in group.records if record not in group.resampled]
    if not group.resampled:
        alone = ["all"]
    drawn = []
    if count := len(group.resampled):
        drawn.append(f"paired, by the test images, for the {count} whose predictions are kept")
    if alone:
        drawn.append(f"parametric, by a binomial number of right images, for {', '.join(alone)}")
    most = _percent(detectable_unpaired(0.5, images))
    return [
        f"Rank: by accuracy; its 95% interval is from {RESAMPLES} bootstrap samples: "
        f"{'; '.join(drawn)}.",
        "Detectable difference: the smallest, in points, between a model and the one above it that "
        "a test would find (power 80%, two-sided level 5%): McNemar's, given the share of images "
        "that only one of both has right, or unpaired where predictions are not kept. "
        f"Between any two models, {images} images are enough for {_points(most)} points, unpaired.",
    ]


def _detectable(
    above: Record | None, record: Record, paired: Mapping[tuple[str, str], Pair]
) -> str | None:
    images = record.accuracy.n_test
    if above is None or images is None:
        return None
    pair = paired.get((above.stem, record.stem))
    if pair is not None:
        return _points(pair.detectable)
    mean = ((above.accuracy.accuracy_top1 or 0) + (record.accuracy.accuracy_top1 or 0)) / 200
    return f"{_points(_percent(detectable_unpaired(mean, images)))} (unpaired)"


def _points(percent: float | None) -> str:
    return NOTHING if percent is None else f"{percent:.2f}"


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _order(predictions: Predictions) -> tuple[str, int]:
    """Return what is the same for predictions that can be compared image by image."""
    return predictions.labels_sha256, predictions.images


def _name(record: Record) -> str:
    return record.title + (" (GPU)" if record.cell.device == "cuda" else "")
