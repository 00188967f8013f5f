"""`--measure latency`: what is refused in one line, and one small comparison from end to end."""

import csv
import json

import pytest

from harness import commands
from harness.catalog import load_model
from harness.measure import runtimes
from harness.measurements import MEASUREMENTS
from harness.plan import latency as plan_latency
from harness.records.latency import latency_place
from tests import refusals
from tests.commands import ROOT, run
from tests.refusals import refuse


@pytest.fixture(autouse=True)
def _own_folder(tmp_path_factory, monkeypatch):
    # Whatever is really measured on this machine meanwhile is not waited for.
    monkeypatch.setenv("TMPDIR", str(tmp_path_factory.mktemp("locks")))


def make_request(tmp_path, **changes):
    usual = {"models": ["mobilenet,deit"], "measure": "latency"}
    return refusals.make_request(tmp_path, **(usual | changes))


NEAR = ["unknown runtime 'openvin'", "did you mean openvino"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"runtimes": ["openvin"]}, NEAR),
        ({"runtimes": ["eager,openvin"]}, NEAR),
        ({"runtimes": ["tvm"]}, ["unknown runtime 'tvm'", "eager", "onnxruntime"]),
        ({"reference": "mobilnet"}, ["--reference 'mobilnet'", "did you mean mobilenet"]),
        ({"reference": "vgg"}, ["--reference 'vgg'", "one of the models compared"]),
        ({"measure": "latenz"}, ["--measure 'latenz'", "did you mean latency"]),
        ({"measure": "nonsense"}, ["--measure 'nonsense'", "all, cost, latency"]),
        ({"measure": "all", "runtimes": ["eager"]}, ["--runtime goes with --measure latency"]),
        ({"measure": "all", "reference": "deit"}, ["--reference goes with --measure latency"]),
        ({"overrides": {"weights": "train"}}, ["trains nothing", "--weights train"]),
        ({"assignments": ["weights=train"]}, ["trains nothing", "weights"]),
        ({"overrides": {"weights": "best"}}, ["weights", "'published'", "found 'best'"]),
        ({"models": []}, ["--model is missing"]),
        ({"datasets": []}, ["--dataset is missing"]),
        ({"models": ["mobilnet"]}, ["unknown model 'mobilnet'", "did you mean mobilenet"]),
        ({"datasets": ["digit"]}, ["unknown data set 'digit'", "did you mean digits"]),
        ({"datasets": ["cifar10"]}, ["cifar10", "offline", "put"]),
        ({"device": "gpu"}, ["unknown device 'gpu'"]),
        ({"assignments": ["measurement.latency_rounds=19"]}, ["latency_rounds", "20", "found 19"]),
        ({"assignments": ["measurement.latency_seconds=0"]}, ["latency_seconds", "found 0"]),
        ({"assignments": ["measurement.latency_processes=0"]}, ["latency_processes", "found 0"]),
        ({"assignments": ["measurement.latency_processs=1"]}, ["mean measurement.latency_proc"]),
        ({"overrides": {"threads": "0"}}, ["threads", "found '0'"]),
        ({"models": ["vit"], "assignments": ["image_size=33"]}, ["image_size", "33", "16"]),
    ],
)
@pytest.mark.parametrize("plan", [False, True])
def test_a_wrong_word_is_one_line(capsys, tmp_path, changes, words, plan):
    refuse(capsys, tmp_path, make_request(tmp_path, **changes), *words, plan=plan)


def test_a_runtime_that_is_not_installed(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    request = make_request(tmp_path, runtimes=["eager", "openvino"])
    refuse(capsys, tmp_path, request, "runtime openvino needs", "uv sync --extra openvino")


def test_models_that_run_elsewhere_only(capsys, tmp_path, monkeypatch):
    spec = load_model("mobilenet")
    only_cuda = type(spec)(label="X", build=spec.build, image_size=224, devices=("cuda",))
    monkeypatch.setattr(plan_latency, "load_model", lambda name: only_cuda)
    refuse(capsys, tmp_path, make_request(tmp_path), "mobilenet,deit", "does not run on cpu")


def test_a_results_folder_that_cannot_be_written_to(capsys, tmp_path):
    (tmp_path / "given").write_text("a file, no folder")
    request = make_request(tmp_path, results_dir=tmp_path / "given" / "results")
    refuse(capsys, tmp_path, request, "results folder", "cannot write")


@pytest.mark.parametrize("measure", ["latency", "all"])
@pytest.mark.parametrize(
    ("broken", "missing"),
    [
        ("records/digits/mobilenet-cpu.json", "cell"),
        ("latency/x-cpu-1t.json", "dataset"),
        ("costs/digits/deit-32.json", "dataset"),
    ],
)
def test_broken_records_are_named_and_hide_nothing(
    capsys, tmp_path, monkeypatch, broken, missing, measure
):
    ran = []
    for module in ("cell", "latency"):
        monkeypatch.setattr(
            f"harness.measurements.{module}.run_in_child",
            # Latencies come back in a file, which is not there.
            lambda *given: ran.append(given) or int(measure == "latency"),
        )
    results = tmp_path / "given"
    path = results / broken
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    request = make_request(tmp_path, results_dir=results, measure=measure, models=["deit"])
    assert commands.carry_out(request) == 1
    assert len(ran) == 1
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert str(path) in error
    assert f"{missing}: Field required" in error


@pytest.mark.parametrize(
    ("models", "chosen", "reference"),
    [
        (["mobilenet,resnet"], "", "resnet"),
        (["mobilenet", "deit"], "", "mobilenet"),
        (["mobilenet,resnet"], "mobilenet", "mobilenet"),
    ],
)
def test_the_reference_is_resnet_where_it_is_there(tmp_path, models, chosen, reference):
    request = make_request(tmp_path, models=models, reference=chosen)
    (job,) = plan_latency.plan_latency(request)
    assert job.reference == reference
    assert job.runtimes == ("eager",)


def test_each_runtime_once_in_the_order_asked(tmp_path):
    request = make_request(tmp_path, runtimes=["compile, eager", "compile"])
    (job,) = plan_latency.plan_latency(request)
    assert job.runtimes == ("compile", "eager")
    assert job.command == (
        "python comparisons.py --dataset digits --model mobilenet,deit --device cpu "
        "--measure latency --runtime compile,eager --reference mobilenet"
    )


@pytest.mark.parametrize(
    ("measure", "again"), [("latency", "begins anew"), ("all", "goes on from the last checkpoint")]
)
def test_an_interruption_says_what_comes_of_it(capsys, monkeypatch, tmp_path, measure, again):
    def interrupt(_self, _request):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(MEASUREMENTS[measure]), "plan", interrupt)
    assert commands.carry_out(make_request(tmp_path, measure=measure)) == 130
    assert capsys.readouterr().err == f"interrupted: the same command {again}\n"


def test_a_plan_says_how_many_processes(capsys, tmp_path):
    request = make_request(tmp_path, assignments=["measurement.latency_processes=1"])
    assert commands.carry_out(request, plan=True) == 0
    assert capsys.readouterr().out == (
        "digits/latency-cpu: 2 models in eager; 1 process: mobilenet, deit; reference mobilenet\n"
    )


def test_a_small_comparison(tmp_path):
    arguments = (
        *("--dataset", "digits", "--model", "mobilenet,deit", "--measure", "latency"),
        *("--device", "cpu", "--threads", "1", "--weights", "random"),
        *("--set", "measurement.latency_rounds=20", "--set", "measurement.latency_seconds=0.1"),
        *("--set", "measurement.latency_processes=2"),
    )
    results = tmp_path / "results"
    done = run(tmp_path, ROOT / "comparisons.py", *arguments, "--results-dir", results)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "digits/latency-cpu: 2 models in eager; 2 processes\n"
    assert {path.relative_to(results).as_posix() for path in results.rglob("*.*")} == {
        *("latency/digits-cpu-1t.json", "digits.md", "digits-latency.csv", "index.html"),
        *("assets/plotly-basic.min.js", "assets/plotly-basic.LICENSE"),
    }
    record = json.loads((results / latency_place("digits", "cpu", 1)).read_text())
    rows = {row["model"]: row for row in record["rows"]}
    assert (record["reference"], record["processes"], record["rounds"]) == ("mobilenet", 2, 40)
    assert list(rows) == ["mobilenet", "deit"]
    assert rows["mobilenet"]["ratio_by_process"] == [1, 1]
    assert len(set(rows["deit"]["ratio_by_process"])) == 2
    assert rows["deit"]["ratio"] == pytest.approx(sum(rows["deit"]["ratio_by_process"]) / 2)
    assert rows["deit"]["latency_ms_p50"] > 0
    words = " ".join(arguments[:4])
    assert record["provenance"]["command"].startswith(f"python comparisons.py {words} --device cpu")

    page = (results / "digits.md").read_text()
    assert page.startswith("# digits\n\n## Latency side by side, 1 CPU thread\n")
    assert "| MobileNetV2 | eager | 1 (1–1) | 1–1 |" in page
    table = list(csv.DictReader((results / "digits-latency.csv").open()))
    assert [row["model"] for row in table] == ["mobilenet", "deit"]
    assert float(table[1]["ratio"]) == rows["deit"]["ratio"]
    assert "DeiT-Tiny" in done.stdout
    assert "reference mobilenet in eager" in " ".join(done.stdout.split())
