"""`--measure cost`: what is refused in one line, and a small count from end to end."""

import csv
import json
from pathlib import Path

import pytest

from harness import commands
from harness.plan.counts import plan_costs
from tests import refusals
from tests.commands import ROOT, run


def make_request(tmp_path, **changes):
    usual = {"datasets": ["svhn"], "models": ["mobilenet"], "device": "auto", "measure": "cost"}
    return refusals.make_request(tmp_path, **(usual | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": []}, ["--model is missing"]),
        ({"datasets": []}, ["--dataset is missing"]),
        ({"models": ["mobilnet"]}, ["unknown model 'mobilnet'", "did you mean mobilenet"]),
        ({"datasets": ["svnh"]}, ["unknown data set 'svnh'", "did you mean svhn"]),
        ({"data_file": Path("mine.npz")}, ["looks at no images", "leave out --data-file"]),
        ({"device": "cuda"}, ["counts, whatever the device", "leave out --device"]),
        ({"overrides": {"weights": "train"}}, ["trains nothing", "leave out --weights train"]),
        ({"overrides": {"weights": "imagenet"}}, ["leave out --weights imagenet"]),
        ({"runtimes": ["eager"]}, ["--runtime goes with --measure latency"]),
        ({"reference": "resnet"}, ["--reference goes with --measure latency"]),
        ({"seeds": "1,2"}, ["--seeds goes with training", "--measure cost"]),
        ({"measure": "latency", "seeds": "1"}, ["--seeds goes with training", "latency"]),
        ({"models": ["vit"], "assignments": ["image_size=33"]}, ["image_size", "33", "16"]),
        ({"measure": "costs"}, ["unknown --measure 'costs'", "did you mean cost"]),
    ],
)
@pytest.mark.parametrize("plan", [False, True])
def test_a_wrong_word_is_one_line(capsys, tmp_path, changes, words, plan):
    code = commands.carry_out(make_request(tmp_path, **changes), plan=plan)
    error = capsys.readouterr().err
    assert (code, error.count("\n")) == (2, 1), error
    assert all(word in error for word in words), error
    assert list(tmp_path.iterdir()) == []


def test_a_job_names_what_would_count_again(tmp_path):
    (job,) = plan_costs(make_request(tmp_path, assignments=["image_size=64"]))
    assert [each.command for each in job.jobs] == [
        "python comparisons.py --dataset svhn --model mobilenet --device cpu --set image_size=64 "
        "--measure cost"
    ]


def test_what_was_never_published_is_left_out_of_all(tmp_path, capsys):
    request = make_request(
        tmp_path,
        datasets=["digits"],
        models=["all"],
        overrides={"weights": "published"},
    )
    (job,) = plan_costs(request)
    assert "resnet" in [each.cell.model for each in job.jobs]
    assert "resnet_quantized" not in [each.cell.model for each in job.jobs]
    assert "left out: --weights published: no weights" in capsys.readouterr().err


def test_a_small_count(tmp_path):
    results = tmp_path / "results"
    arguments = ("--dataset", "svhn", "--model", "mobilenet,deit", "--measure", "cost", "--offline")
    done = run(tmp_path, ROOT / "comparisons.py", *arguments, "--results-dir", results)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "svhn/cost: 2 models\n"
    assert "MobileNetV2" in done.stdout
    record = json.loads((results / "costs/svhn/deit-224.json").read_text())
    # 10 classes and 3 channels: what the published table prints for SVHN.
    assert f"{record['gmacs_thop']:.2f}" == "1.08"
    page = (results / "svhn.md").read_text()
    assert (
        "| MobileNetV2 | – | 95.69 | – | 4.62 | – | 0.75 | – | **9.19** | 9.19 | **9.08** |" in page
    )
    verdicts = list(csv.DictReader((results / "verdicts.csv").open()))
    judged = {(v["model"], v["figure"]): v["outcome"] for v in verdicts if v["dataset"] == "svhn"}
    assert judged["mobilenet", "size"] == judged["mobilenet", "count"] == "reproduced"
    assert judged["deit", "count"] == "reproduced"
    assert judged["vgg", "count"] == "cannot be judged"
    assert (results / "svhn.tex").exists()
