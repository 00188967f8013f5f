"""A measurement that is added as CONTRIBUTING says: one file and one entry, in a copy."""

import shutil

import pytest

from tests.commands import ROOT, copy_project, run

ENTRIES = (
    (
        "from harness.measurements.latency import LatencySideBySide\n",
        "from harness.measurements.latency import LatencySideBySide\n"
        "from harness.measurements.parameters import Parameters\n",
    ),
    ("Tuning())", "Tuning(), Parameters())"),
)
CELLS = ("--dataset", "digits", "--model", "mobilenet,deit", "--measure", "parameters")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    copy = tmp_path_factory.mktemp("project")
    copy_project(copy)
    folder = copy / "harness" / "measurements"
    shutil.copy(ROOT / "tests" / "parameters_measurement.py", folder / "parameters.py")
    text = (folder / "__init__.py").read_text()
    for before, after in ENTRIES:
        assert text.count(before) == 1
        text = text.replace(before, after)
    (folder / "__init__.py").write_text(text)
    return copy


def test_it_is_planned_run_in_children_and_shown(project):
    planned = run(project, "comparisons.py", *CELLS, "--plan")
    assert planned.stdout == (
        "digits/mobilenet-cpu: count parameters\ndigits/deit-cpu: count parameters\n"
    )
    done = run(project, "comparisons.py", *CELLS, "--offline")
    assert (done.returncode, done.stderr) == (0, "")
    # With the heads of 10 classes, and one channel of grey.
    assert done.stdout == "mobilenet: 2,236,106 parameters\ndeit: 5,391,178 parameters\n"
    counted = (project / "results/own/parameters/digits/deit.txt").read_text()
    assert counted == "5391178\n"


def test_it_is_named_in_the_help_and_in_refusals(project):
    assert "; or parameters: how many each model has." in " ".join(
        run(project, "comparisons.py", "--help").stdout.replace("│", " ").split()
    )
    refused = run(project, "comparisons.py", *CELLS[:-1], "parameter")
    assert (refused.returncode, refused.stderr) == (
        2,
        "error: unknown --measure 'parameter': did you mean parameters?\n",
    )
    refused = run(project, "comparisons.py", *CELLS, "--fair", "settings")
    assert (refused.returncode, refused.stderr) == (
        2,
        "error: --fair goes with --measure all: --measure parameters trains no cell\n",
    )


def test_what_breaks_in_one_child_is_one_line_and_the_others_go_on(project):
    (project / "own/parameters/digits/mobilenet.txt/in_the_way").mkdir(parents=True)
    done = run(project, "comparisons.py", *CELLS, "--results-dir", "own")
    assert done.returncode == 1
    assert done.stderr.startswith("digits/mobilenet-cpu: cannot write ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == "deit: 5,391,178 parameters\n"
