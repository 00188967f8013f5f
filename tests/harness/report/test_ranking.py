"""Cells on the same images: ranks, ties, and McNemar on predictions that were kept."""

import csv
import io

import numpy as np
import pytest

from harness.records.predictions import make_predictions
from harness.report.ranking import compare_cells, render_pairs, render_ranking
from harness.report.statistics import detectable_paired

LABELS = np.zeros(100, dtype=np.int64)


def predictions(wrong):
    """Predictions of 100 images of class 0, those given in `wrong` taken for class 1."""
    classes = np.zeros(100, dtype=np.uint16)
    classes[list(wrong)] = 1
    return make_predictions(classes, LABELS)


def cell(make_record, model, accuracy, half_width=1.0, **changes):
    fields = {
        "dataset": "ours",
        "data_name": "ours",
        "model": model,
        "label": model.upper(),
        "accuracy_top1": accuracy,
        "accuracy_top1_low": accuracy - half_width,
        "accuracy_top1_high": min(accuracy + half_width, 100.0),
        "n_test": 100,
    }
    return make_record(**(fields | changes))


def test_pairs_are_counted_image_by_image(make_record):
    records = [cell(make_record, "a", 90.0), cell(make_record, "b", 88.0)]
    # Both are wrong on 4 images, a alone on 6, b alone on 8.
    kept = {"a": predictions(range(10)), "b": predictions(range(6, 18))}
    (group,) = compare_cells(records, lambda record: (kept[record.cell.model], ""))
    (pair,) = group.pairs
    assert (pair.first.cell.model, pair.second.cell.model) == ("a", "b")
    assert (pair.test.only_first, pair.test.only_second) == (8, 6)
    assert pair.p_holm == pair.test.p_mid
    assert not pair.different
    # 14 of 100 images: k·√0.14, with k as in Connor's formula.
    assert pair.detectable == pytest.approx(100 * detectable_paired(0.14, 100))


def test_p_values_are_corrected_for_all_pairs(make_record):
    records = [cell(make_record, name, 90.0 - i) for i, name in enumerate("abc")]
    kept = {"a": predictions([]), "b": predictions(range(6)), "c": predictions(range(6))}
    (group,) = compare_cells(records, lambda record: (kept[record.cell.model], ""))
    # Six images that only a is right on: 2/64 less 1/64; three pairs, so times three and two.
    found = {
        (p.first.cell.model, p.second.cell.model): (p.test.p_mid, p.p_holm) for p in group.pairs
    }
    assert found == {("a", "b"): (1 / 64, 3 / 64), ("a", "c"): (1 / 64, 3 / 64), ("b", "c"): (1, 1)}


GOLDEN = """
## Ranking on the 100 test images of ours

| Rank (95%) | Model | Top-1 % (95%) | Detectable difference | Not told apart from |
| ---: | :--- | ---: | ---: | :--- |
| 1 (1–1) | A | 100.00 (99.0–100.0) | – | none: all are told apart |
| 2 (2–2) | B | 94.00 (93.0–95.0) | 7.67 | C |
| 3 (2–3) | C | 93.00 (92.0–94.0) | 7.67 | B |
| 4 (4–4) | D | 80.00 (79.0–81.0) | 13.46 (unpaired) | – |

Rank: by accuracy; its 95% interval is from 1000 bootstrap samples: paired, by the test images, \
for the 3 whose predictions are kept; parametric, by a binomial number of right images, for D.
Detectable difference: the smallest, in points, between a model and the one above it that a test \
would find (power 80%, two-sided level 5%): McNemar's, given the share of images that only one of \
both has right, or unpaired where predictions are not kept. Between any two models, 100 images are \
enough for 19.69 points, unpaired.
Pairs: McNemar's test on the same images, mid-p, corrected for all 3 pairs (Holm); not told apart: \
p ≥ 0.05. All pairs: [ours-mcnemar.csv](ours-mcnemar.csv).
Not paired, its predictions are not there: D.
"""


def test_a_section_of_ranks_and_ties(make_record):
    accuracies = {"d": 80.0, "c": 93.0, "a": 100.0, "b": 94.0}
    records = [cell(make_record, name, accuracy) for name, accuracy in accuracies.items()]
    kept = {
        "a": (predictions([]), ""),
        "b": (predictions(range(6)), ""),
        "c": (predictions(range(7)), ""),
        "d": (None, "its predictions are not there"),
    }
    groups = compare_cells(records, lambda record: kept[record.cell.model])
    assert render_ranking(groups, "ours-mcnemar.csv") == GOLDEN
    rows = list(csv.DictReader(io.StringIO(render_pairs(groups))))
    assert [(row["first"], row["second"], row["different"]) for row in rows] == [
        ("a-cpu", "b-cpu", "True"),
        ("a-cpu", "c-cpu", "True"),
        ("b-cpu", "c-cpu", "False"),
    ]
    assert (rows[0]["only_first_right"], rows[0]["p_exact"], rows[0]["p_mid"]) == (
        *("6", "0.03125"),
        "0.015625",
    )


def test_other_images_make_another_group(make_record):
    records = [cell(make_record, name, 90.0) for name in "ab"]
    others = [cell(make_record, name, 80.0, data_sha256="x", data_name="x") for name in "cd"]
    alone = cell(make_record, "e", 70.0, data_sha256="y")
    failed = cell(make_record, "f", 70.0, status="failed")
    repeat = cell(make_record, "a", 91.0, seed=1, repeat=True)
    groups = compare_cells([*records, *others, alone, failed, repeat], lambda _: (None, "none"))
    assert [[r.cell.model for r in group.records] for group in groups] == [["a", "b"], ["c", "d"]]
    assert not any(group.pairs for group in groups)
    assert render_ranking([], "x") == ""


def test_the_same_images_in_another_order_are_not_paired(make_record):
    records = [cell(make_record, name, 90.0) for name in "ab"]
    labels = np.arange(100) % 2
    kept = {"a": predictions([]), "b": make_predictions(labels.astype(np.uint16), labels)}
    (group,) = compare_cells(records, lambda record: (kept[record.cell.model], ""))
    assert not group.pairs
    assert [record.cell.model for record in group.resampled] == ["a"]
    assert "parametric, by a binomial number of right images, for B." in render_ranking(
        [group], "x"
    )


def test_of_many_cells_the_best_are_paired(make_record):
    records = [cell(make_record, f"m{i:02}", 90.0 - i) for i in range(42)]
    (group,) = compare_cells(records, lambda _: (predictions([]), ""))
    assert len(group.pairs) == 40 * 39 / 2
    assert "Only the best 40 are paired, 2 are not." in render_ranking([group], "x")
