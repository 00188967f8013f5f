"""A start that cannot be had: the command says so, and its result never stands for the real one."""

import pytest

from harness.records.cell import CELLS
from tests.commands import BRIEF, copy_project, run

CELL = ("comparisons.py", "--dataset", "digits", "--model", "my_net", "--threads", "1", "--offline")
QUICK = ("--epochs", "1", *BRIEF)
HUB = """
def build_from_hub(num_classes, in_channels, pretrained):
    if pretrained:
        open("hub", "rb").close()
    return build(num_classes, in_channels, False)


import dataclasses
SPEC = dataclasses.replace(SPEC, build=build_from_hub, pretrained="SOME_WEIGHTS")
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with a model whose weights can be had where there is a file `hub`."""
    copy = tmp_path_factory.mktemp("project")
    copy_project(copy)
    assert run(copy, "cli/new_model.py", "my_net").returncode == 0
    with (copy / "monolithic_architectures/my_net/model.py").open("a") as file:
        file.write(HUB)
    return copy


def start_of(project):
    path = project / "results/own/records/digits/my_net-cpu.json"
    return CELLS.read(path).weights.start if path.exists() else None


def test_imagenet_is_refused_in_one_line(project):
    done = run(project, *CELL, *QUICK, "--set", "training.start=imagenet")
    assert done.returncode == 2
    assert "SOME_WEIGHTS weights of My Net cannot be had" in done.stderr
    assert "--set training.start=random goes without" in done.stderr
    assert start_of(project) is None


def test_auto_tries_again_until_it_had_the_start(project):
    command = (*CELL, *QUICK, "--set", "training.start=auto")
    done = run(project, *command)
    assert done.returncode == 0, done.stderr
    assert "training starts from random weights" in done.stderr
    assert start_of(project) == "random"
    planned = " ".join(run(project, *command, "--plan").stdout.replace("│", " ").split())
    assert "SOME_WEIGHTS weights were missing" in planned

    (project / "hub").touch()
    done = run(project, *command)
    assert done.returncode == 0, done.stderr
    assert start_of(project) == "imagenet"
    (project / "hub").unlink()
    assert "an equal record exists" in run(project, *command).stderr
    # The same training, asked for by name.
    wanted = (*CELL, *QUICK, "--set", "training.start=imagenet")
    assert "an equal record exists" in run(project, *wanted).stderr
    other = run(project, *CELL, *QUICK, "--set", "training.start=random", "--plan").stdout
    assert "weights trained for 1 epochs" in " ".join(other.replace("│", " ").split())
