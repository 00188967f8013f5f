"""`--tracker` and `--fair` as a user gives them: refused in one line before anything runs."""

import pytest

from harness import commands
from harness.plan import cells
from harness.plan.cells import plan_request
from harness.tracking import names
from tests import refusals


@pytest.fixture(autouse=True)
def _untried(monkeypatch):
    # Trying the networks takes seconds, and no request here is refused for them.
    monkeypatch.setattr(cells, "check_fit", lambda *_: None)


def make_request(tmp_path, **changes):
    usual = {"models": ["mobilenet,resnet"], "runs_dir": tmp_path / "runs"}
    return refusals.make_request(tmp_path, **(usual | changes))


@pytest.mark.parametrize("plan", [False, True])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"trackers": ["tensorbord"]},
            ["unknown tracker 'tensorbord'", "did you mean tensorboard"],
        ),
        ({"trackers": ["none,mlflow"]}, ["--tracker none"]),
        ({"trackers": ["aim"], "offline": False}, ["tracker aim needs aim: pip install aim"]),
        ({"trackers": ["mlflow"], "measure": "latency"}, ["--tracker goes with --measure all"]),
        (
            {"fair": "settings", "measure": "latency"},
            ["--fair goes with --measure all: --measure latency trains no cell"],
        ),
        (
            {"fair": "settings", "measure": "cost"},
            ["--fair goes with --measure all: --measure cost trains no cell"],
        ),
        (
            {"fair": "settings"},
            [
                "--fair settings: digits: epochs (10, 12)",
                "differ between mobilenet, resnet",
                "--set training.epochs=12",
                "--set training.precision=fp32",
            ],
        ),
    ],
)
def test_what_is_refused(capsys, tmp_path, monkeypatch, plan, changes, words):
    monkeypatch.setattr(names, "_is_installed", lambda package: package != "aim")
    code = commands.carry_out(make_request(tmp_path, **changes), plan=plan)
    error = capsys.readouterr().err
    assert code == 2, error
    assert error.count("\n") == 1, error
    assert all(word in error for word in words), error
    assert list(tmp_path.iterdir()) == []


def test_what_fair_asks_for_is_fair(capsys, tmp_path):
    commands.carry_out(make_request(tmp_path, fair="settings"), plan=True)
    options = capsys.readouterr().err.strip().split(" --set ")[1:]
    request = make_request(tmp_path, fair="settings", assignments=options)
    one, other = (item.job.settings.training for item in plan_request(request))
    assert one == other


def test_what_jobs_are_told_of_trackers(tmp_path):
    one = {"models": ["mobilenet"]}
    (usual,) = plan_request(make_request(tmp_path, **one))
    assert (usual.job.trackers, usual.job.runs_dir) == (("tensorboard",), tmp_path / "runs")
    (none,) = plan_request(make_request(tmp_path, trackers=["none"], **one))
    assert none.job.trackers == ()
    assert none.job.command == usual.job.command
