"""Cells that several processes train, as a user runs them, in a copy of the project."""

import time

import psutil
import pytest

from harness.records.cell import CELLS
from tests.commands import BRIEF, Running, copy_project, run

pytestmark = pytest.mark.slow

CELL = ("--dataset", "digits", "--threads", "1", "--offline", "--tracker", "none")
TWO = ("--set", "training.processes=2")
# Layers that go wrong in the second of two processes, some steps after the rehearsal.
BREAKS = {
    "killed": "os.kill(os.getpid(), 9)",
    "broken": "raise RuntimeError('a layer broke')",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with a small network, and two copies of it that go wrong."""
    copy = tmp_path_factory.mktemp("project")
    copy_project(copy)
    for name in ("my_net", *BREAKS):
        done = run(copy, "cli/new_model.py", name)
        assert done.returncode == 0, done.stderr
    for name, statement in BREAKS.items():
        file = copy / "monolithic_architectures" / name / "model.py"
        text = file.read_text().replace("return nn.Sequential(*", "return Bad(*")
        bad = f"class Bad(nn.Sequential):\n    calls = 0\n\n    def forward(self, x):\n{' ' * 8}"
        bad += f"Bad.calls += self.training and os.environ.get('RANK') == '1'\n{' ' * 8}"
        bad += f"if Bad.calls > 20:\n{' ' * 12}{statement}\n"
        bad += f"{' ' * 8}return super().forward(x)\n\n\n"
        text = text.replace("def build(", f"import os\n\n\n{bad}def build(")
        file.write_text(text)
    return copy


def compare(project, model, *arguments):
    return run(project, "comparisons.py", *CELL, *BRIEF, "--model", model, *arguments)


def read_record(project, model="my_net"):
    return CELLS.read(project / f"results/own/records/digits/{model}-cpu.json").flat


def test_two_processes_train_what_one_trains_and_continue_what_it_began(project):
    done = compare(project, "my_net", "--epochs", "3", "--weights-dir", "w1")
    assert done.returncode == 0, done.stderr
    one = read_record(project)
    assert one["training_processes"] == 1

    arguments = ("--epochs", "3", "--weights-dir", "w2")
    done = compare(project, "my_net", *arguments, *TWO)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(": epoch ") == 3
    assert done.stderr.count("\n") == 4
    two = read_record(project)
    assert two["training_processes"] == 2
    assert two["settings_hash"] == one["settings_hash"]
    losses = [epoch["loss"] for epoch in one["history"]]
    assert [epoch["loss"] for epoch in two["history"]] == pytest.approx(losses, abs=1e-3)
    assert "an equal record exists" in compare(project, "my_net", *arguments, "--plan").stdout


def test_what_is_killed_leaves_no_process_and_continues_with_one(project):
    arguments = (*CELL, *BRIEF, "--model", "my_net", "--epochs", "30", "--weights-dir", "w3")
    running = Running(project, "comparisons.py", *arguments, *TWO)
    while not list((project / "w3").rglob("*.checkpoint")):
        assert not running.ended, "it ended without a checkpoint"
        time.sleep(0.1)
    ranks = find_ranks()
    assert len(ranks) == 3
    running.kill()
    _, alive = psutil.wait_procs(ranks, timeout=3600)
    assert alive == []
    short = [*arguments, "--epochs", "30", "--plan"]
    assert "train from epoch" in " ".join(run(project, "comparisons.py", *short).stdout.split())


def find_ranks():
    """Return the processes that train, and the one that started them."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if "harness.run.rank" in command and '"model":"my_net"' in command[-1]:
            found.append(process)
    return found


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("killed", "training process 1 of 2 was ended by SIGKILL (out of memory?)"),
        ("broken", "training in 2 processes: training broke: RuntimeError: a layer broke"),
    ],
)
def test_a_process_that_goes_wrong_ends_the_cell_in_one_line(project, model, reason):
    done = compare(project, model, "--epochs", "1", *TWO)
    assert done.returncode == 1, done.stderr
    assert read_record(project, model)["reason"] == reason
    assert f"failed: {reason}" in " ".join(done.stdout.split())
    assert done.stderr.count("\n") == 1, done.stderr
