"""The table of the zoo: choices by hand on a few rows, and the table that is committed."""

import json
import random

import pytest

from cli import update_zoo
from harness.profiling import zoo
from harness.profiling.names import ModelName
from harness.profiling.request import parse_request
from harness.profiling.zoo_page import render_zoo
from harness.profiling.zoo_table import FIELDS, choose_rows, read_versions, read_zoo
from harness.report.table import write_csv
from tests.cli.test_compare_models import options_of

ROWS = {
    # name: parameters, GMACs, top-1
    "small": (1_000_000, 0.1, 60.0),
    "better": (2_000_000, 0.2, 70.0),
    "worse": (3_000_000, 0.3, 65.0),
    "timm:unknown": (2_100_000, 0.21, None),
    "best": (50_000_000, 9.0, 85.0),
}


@pytest.fixture(name="folder")
def _folder(tmp_path):
    rows = []
    for name, (params, gmacs, top1) in ROWS.items():
        source = "timm" if name.startswith("timm:") else "torchvision"
        row = dict.fromkeys(FIELDS) | {"model": name, "source": source, "image_size": "224"}
        row |= {"params": params, "gmacs": gmacs, "published_top1": top1}
        costs = ("activations", "traffic_mb", "peak_activations_mb", "sequential_depth")
        rows.append(row | dict.fromkeys(costs, gmacs * 10))
    rows.append(dict.fromkeys(FIELDS) | {"model": "odd", "reason": "it takes text"})
    (tmp_path / "models.csv").write_text(write_csv(rows))
    (tmp_path / "versions.json").write_text(json.dumps({"counting": 1, "timm": "1.0"}))
    return tmp_path


def choose(folder, *arguments):
    return choose_rows(parse_request(options_of(*arguments)), folder)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--where", "gmacs < 0.25 and params < 2.05e6"], ["small", "better"]),
        (
            ["--where", "accuracy > 62 or gmacs == 0.21"],
            ["better", "worse", "timm:unknown", "best"],
        ),
        (["--pareto", "accuracy,gmacs"], ["small", "better", "best"]),
        (["--top", "2"], ["best", "better"]),
        (["--top", "2", "--sort-by", "params"], ["small", "better"]),
        (["--like", "better", "--top", "3"], ["better", "timm:unknown", "worse"]),
        (["unkn*", "small", "--where", "params > 0"], ["small", "timm:unknown"]),
    ],
)
def test_choices_by_hand(folder, arguments, expected):
    assert list(choose(folder, *arguments)[0]["model"]) == expected


def test_what_is_left_out_is_said(folder):
    _, notes = choose(folder, "--pareto", "accuracy,gmacs")
    assert notes == [
        "6 rows, 1 of them models without figures",
        "--pareto accuracy,gmacs: 1 rows lack one of these figures",
        "3 rows chosen",
    ]


def test_accuracies_of_timm_come_from_its_results(folder, tmp_path):
    results = tmp_path / "results-imagenet.csv"
    results.write_text(
        "model,img_size,top1,top5\n"
        "unknown.a1,224,71.5,90.1\nunknown.a2,224,72.5,91.1\nunknown.a2,288,74.0,92.0\n"
    )
    chosen, _ = choose(folder, "--timm-results", results, "--top", "9")
    frame = chosen.set_index("model")
    row = frame.loc["timm:unknown"]
    assert (row["published_weights"], row["published_top1"]) == ("unknown.a2", 72.5)
    assert frame.loc["best", "published_top1"] == 85


@pytest.mark.parametrize("form", ["table", "markdown", "csv", "json", "html"])
def test_every_form_has_every_row(folder, form):
    text = render_zoo(*choose(folder, "--where", "params > 0"), read_versions(folder), form)
    for name in ROWS:
        assert name in text
    if form == "json":
        tree = json.loads(text)
        assert tree["versions"] == {"counting": 1, "timm": "1.0"}
        assert tree["models"][3]["published_top1"] is None


def test_a_run_that_is_interrupted_goes_on_where_it_stopped(tmp_path, monkeypatch):
    names = [ModelName(source="torchvision", name=f"m{number}") for number in range(4)]
    counted = []

    def count_model(name):
        counted.append(str(name))
        row = {"model": str(name), "params": 3, "gmacs": 1.5, "image_size": "224"}
        return [dict.fromkeys(FIELDS) | row]

    monkeypatch.setattr(zoo, "zoo_names", lambda: names)
    monkeypatch.setattr(zoo, "count_model", count_model)
    run = zoo.update_zoo(folder=tmp_path)
    for _ in range(3):
        next(run)
    run.close()
    assert counted == ["m0", "m1"]
    (part,) = tmp_path.glob("*part*")
    entries = part.read_text()
    # A line that was cut off, which the next run went on with, and another one.
    part.write_text(f'{entries}{{"versions": {{{entries.splitlines()[0]}\n{{"versions": 1')
    list(zoo.update_zoo(folder=tmp_path))
    assert counted == ["m0", "m1", "m2", "m3"]
    assert list(read_zoo(tmp_path)["model"]) == counted
    list(zoo.update_zoo([names[2]], tmp_path))
    assert counted[4:] == ["m2"]
    assert list(read_zoo(tmp_path)["model"]) == ["m0", "m1", "m2", "m3"]
    assert zoo.differing_models(names, tmp_path) == []
    assert not list(tmp_path.glob("*part*"))


@pytest.mark.parametrize("check", [-1, 1_000_000])
def test_more_models_than_there_are_cannot_be_checked(check, capsys):
    with pytest.raises(SystemExit) as caught:
        update_zoo.main(check=check)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: --check {check}: up to ")


@pytest.mark.skipif(
    read_versions() != zoo.installed_versions(), reason="the table is of other libraries"
)
def test_rows_of_the_committed_table_still_hold():
    names = random.Random(7).sample(zoo.zoo_names(), 3)
    assert zoo.differing_models(names) == []


def test_the_committed_table_has_every_architecture_and_is_small():
    path = zoo.ZOO / "models.csv"
    assert path.stat().st_size < 1_000_000
    frame = read_zoo()
    assert len(frame) > 1400
    assert frame["params"].isna().equals(frame["reason"].notna())
    resnet = frame[frame["model"] == "resnet18"].iloc[0]
    assert (resnet["params"], resnet["published_top1"]) == (11_689_512, 69.758)
