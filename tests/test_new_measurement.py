"""A measurement that is added as CONTRIBUTING says: one file and one entry, in a copy."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("harness", "cli", "configs", "datasets", "monolithic_architectures")
ENTRIES = (
    (
        "from harness.measurements.latency import LatencySideBySide\n",
        "from harness.measurements.latency import LatencySideBySide\n"
        "from harness.measurements.parameters import Parameters\n",
    ),
    ("CountedCosts())", "CountedCosts(), Parameters())"),
)
CELLS = ("--dataset", "digits", "--model", "mobilenet,deit", "--measure", "parameters")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    copy = tmp_path_factory.mktemp("project")
    for room in ROOMS:
        shutil.copytree(ROOT / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "comparisons.py", copy)
    folder = copy / "harness" / "measurements"
    shutil.copy(ROOT / "tests" / "parameters_measurement.py", folder / "parameters.py")
    text = (folder / "__init__.py").read_text()
    for before, after in ENTRIES:
        assert text.count(before) == 1
        text = text.replace(before, after)
    (folder / "__init__.py").write_text(text)
    return copy


def run(project, *arguments):
    command = [sys.executable, "comparisons.py", *arguments]
    return subprocess.run(command, cwd=project, capture_output=True, text=True)


def test_it_is_planned_run_in_children_and_shown(project):
    planned = run(project, *CELLS, "--plan")
    assert planned.stdout == (
        "digits/mobilenet-cpu: count parameters\ndigits/deit-cpu: count parameters\n"
    )
    done = run(project, *CELLS, "--offline")
    assert (done.returncode, done.stderr) == (0, "")
    # With the heads of 10 classes, and one channel of grey.
    assert done.stdout == "mobilenet: 2,236,106 parameters\ndeit: 5,391,178 parameters\n"
    counted = (project / "results/own/parameters/digits/deit.txt").read_text()
    assert counted == "5391178\n"


def test_it_is_named_in_the_help_and_in_refusals(project):
    assert "; or parameters: how many each model has." in " ".join(
        run(project, "--help").stdout.replace("│", " ").split()
    )
    refused = run(project, *CELLS[:-1], "parameter")
    assert (refused.returncode, refused.stderr) == (
        2,
        "error: unknown --measure 'parameter': did you mean parameters?\n",
    )
    refused = run(project, *CELLS, "--fair")
    assert (refused.returncode, refused.stderr) == (
        2,
        "error: --fair goes with --measure all: --measure parameters trains nothing\n",
    )


def test_what_breaks_in_one_child_is_one_line_and_the_others_go_on(project):
    (project / "own/parameters/digits/mobilenet.txt/in_the_way").mkdir(parents=True)
    done = run(project, *CELLS, "--results-dir", "own")
    assert done.returncode == 1
    assert done.stderr.startswith("digits/mobilenet-cpu: cannot write ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == "deit: 5,391,178 parameters\n"
