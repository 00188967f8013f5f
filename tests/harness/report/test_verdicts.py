"""The page of verdicts: one on each published figure, and a summary that counts them."""

import csv
import io
from collections import Counter

import pytest

from harness.records.material import Material
from harness.report.site import render_readme
from harness.report.verdicts import render_summary, render_verdicts, render_verdicts_csv
from harness.reproduction import verdict
from harness.reproduction.judging import judge_publication
from tests.records import files_of, findings_of


def reproduction(make_record, make_cost):
    """One figure that reproduces, and two that differ."""
    costs = [
        make_cost(),
        make_cost(model="deit", file_mb=22.16, gmacs_thop=1.0784),
        make_cost(dataset="emnist", model="deit", file_mb=30.0, gmacs_thop=1.0592),
    ]
    records = [make_record(accuracy_top1=70.0)]
    return judge_publication(Material(records=records, costs=costs))


SUMMARY = """\
Of the 120 published figures 3 reproduce, 4 differ and 113 cannot be judged yet.

| Figure | reproduced | differs | cannot be judged |
| :--- | ---: | ---: | ---: |
| Top-1 % | 0 | 1 | 29 |
| Latency ÷ ResNet-50 | 0 | 0 | 30 |
| Size MB | 2 | 1 | 27 |
| thop GMACs | 1 | 2 | 27 |

What differs:

- emnist, DeIT, Size MB: file of 30.00 MB, 21.80 published: not within 0.5%.
- emnist, DeIT, thop GMACs: thop counts 1.0592, 1.08 published: not the same when rounded; \
true: 4.087 GMACs; 1.08 is what the shape of cifar10 has; contradiction 11.
- cifar10, ResNet50, Top-1 %: -15.09 points with trained weights: more than chance (p < 0.0001 of \
a difference, = 1.0000 of equivalence); contradiction 14.
- cifar10, DeIT, thop GMACs: thop counts 1.0784, 1.06 published: not the same when rounded; \
true: 4.087 GMACs; 1.06 is what the shape of emnist has; contradiction 11.
"""


def test_the_summary_counts_and_names_what_differs(make_record, make_cost):
    assert render_summary(reproduction(make_record, make_cost).verdicts) == SUMMARY


def test_the_page_has_every_figure_and_what_would_tell(make_record, make_cost, monkeypatch):
    here = ["resnet", "vgg", "convnext", "mobilenet", "vit", "dinov2", "deit", "trunk"]
    monkeypatch.setattr(verdict, "model_files", lambda: here)
    page = render_verdicts(reproduction(make_record, make_cost))
    assert "| ResNet50 | ✗ 85.09 → 70.00 | ? 1 → – | ✓ 94.43 → 94.43 | ✓ 4.13 → 4.13 |" in page
    assert "| DeIT | ? 89.48 → – | ? 0.703 → – | ✓ 22.17 → 22.16 | ✗ 1.06 → 1.08 |" in page
    assert (
        "- svhn, Size MB of ResNet50, VGG16, ConvNeXt-Base, MobileNetv2, ViT, DinoV2, DeIT, TRUNK: "
        "not counted: `python comparisons.py --dataset svhn --model "
        "resnet,vgg,convnext,mobilenet,vit,dinov2,deit,trunk --measure cost`"
    ) in page
    assert page.count("\n| 11 |") == 1
    assert page.count("not measured yet: `python comparisons.py") == 15


def test_the_csv_has_every_verdict(make_record, make_cost):
    verdicts = reproduction(make_record, make_cost).verdicts
    rows = list(csv.DictReader(io.StringIO(render_verdicts_csv(verdicts))))
    assert Counter(row["outcome"] for row in rows) == {
        "reproduced": 3,
        "differs": 4,
        "cannot be judged": 113,
    }
    by_key = {(r["dataset"], r["model"], r["figure"]): r for r in rows}
    assert by_key["cifar10", "resnet", "size"]["evidence"] == "costs/cifar10/resnet-224.json"
    assert float(by_key["cifar10", "resnet", "accuracy"]["p_different"]) < 1e-9
    assert by_key["cifar10", "resnet", "size"]["p_different"] == ""


def test_the_summary_stands_in_the_readme(make_record, make_cost):
    text = "<!-- results: verdicts -->\nold\n<!-- results: end -->\n"
    made = render_readme(text, findings_of([make_record()], [make_cost()]))
    assert made.startswith("<!-- results: verdicts -->\nOf the 120 published figures 2 reproduce,")


@pytest.mark.parametrize("dataset", ["digits", "svhn"])
def test_the_page_is_there_where_anything_published_is(make_record, dataset):
    files = files_of(findings_of([make_record(dataset=dataset)]))
    assert ({"verdicts.md", "verdicts.csv"} <= set(files)) == (dataset == "svhn")
