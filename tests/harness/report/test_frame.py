"""All records as one frame: every scalar of each, and a guide whose snippets run."""

import re
from pathlib import Path

import pytest

from harness.errors import RequestError
from harness.records.cell import CELLS, SCALARS
from harness.report import load_results
from harness.report.frame import frame_records
from harness.report.table import write_csv

ROOT = Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "docs" / "analysis.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


def test_every_record_is_a_row_with_its_scalars_settings_and_published_figures(
    tmp_path, make_record
):
    first = make_record(settings={"training": {"epochs": 2, "betas": [0.9, 0.99]}, "seed": 1})
    second = make_record(model="net", label="Net", n_test=None, settings={"seed": 2})
    for record in (first, second):
        CELLS.write(tmp_path, record)
    frame = load_results(tmp_path).set_index("model")
    assert {*SCALARS} - {"model"} <= {*frame.columns}
    assert frame.loc["resnet", "accuracy_top1"] == first.accuracy.accuracy_top1
    assert frame.loc["resnet", "published_accuracy_top1"] == "85.09"
    assert frame.loc["resnet", "settings.training.epochs"] == 2
    assert frame.loc["resnet", "settings.training.betas"] == [0.9, 0.99]
    assert frame["settings.seed"].tolist() == [2, 1]
    missing = frame.loc["net", ["published_accuracy_top1", "settings.training.epochs"]]
    assert missing.isna().all()


def test_a_folder_without_records_is_one_line(tmp_path):
    with pytest.raises(RequestError, match="no records below it"):
        load_results(tmp_path)


def test_whole_numbers_stay_whole_where_one_is_missing(make_record):
    records = [make_record(params=23_528_522, gmacs=4.0), make_record(params=None, gmacs=None)]
    text = write_csv(frame_records(records)[["params", "gmacs"]])
    assert text == "params,gmacs\n23528522,4.0\n,\n"


@pytest.mark.filterwarnings("error")
def test_every_snippet_of_the_guide_runs(tmp_path, monkeypatch, capsys):
    (tmp_path / "results").symlink_to(ROOT / "results")
    monkeypatch.chdir(tmp_path)
    exec("".join(SNIPPETS), {})
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "| Model | Top-1 % ↑ | Params M ↓ |" in printed.out
    assert {path.name for path in tmp_path.iterdir()} == {
        *("results", "accuracy-gmacs.svg", "digits.csv", "digits.html")
    }
