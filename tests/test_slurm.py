"""Cells on a real Slurm cluster: the same weights as here, whatever ends a job in the middle."""

import json
import re

import pytest

from tests import slurm
from tests.commands import copy_project, run

pytestmark = pytest.mark.skipif(bool(slurm.why_none()), reason=slurm.why_none())

CELLS = ("--dataset", "digits", "--model", "my_net", "--threads", "1", "--offline", "--verbose")
QUICK = ("--set", "measurement.latency_seconds=0.1", "--set", "measurement.throughput_seconds=0.1")
LAUNCH = ("--launcher", "slurm", "--launcher-config", "cluster.yaml")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    started = slurm.SlurmCluster(tmp_path_factory.mktemp("slurm"))
    yield started
    started.script("stop")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    copy = tmp_path_factory.mktemp("project")
    copy_project(copy)
    done = run(copy, "cli/new_model.py", "my_net")
    assert done.returncode == 0, done.stderr
    slurm.write_config(copy)
    return copy


def folders(name):
    return (
        "--weights-dir",
        f"{name}/weights",
        "--results-dir",
        f"{name}/results",
        "--runs-dir",
        "r",
    )


def weights(project, name):
    """Return the digest of the weights of each record, which must be ok."""
    found = {}
    for path in (project / name / "results/records/digits").glob("*.json"):
        record = json.loads(path.read_text())
        assert record["status"] == "ok", record["reason"]
        found[path.stem] = record["weights"]["weights_sha256"]
    return found


def logs(project, name):
    return "".join(path.read_text() for path in (project / name).rglob("*_log.out"))


def train_here(project, *arguments, name="here"):
    done = run(project, "comparisons.py", *CELLS, *QUICK, *arguments, *folders(name))
    assert done.returncode == 0, done.stderr
    return weights(project, name)


def wait_for_training(project, name, process):
    """Wait until a training has written a checkpoint."""
    slurm.wait_for(lambda: list((project / name).rglob("*.checkpoint")), "a checkpoint", process)


def test_three_cells_on_two_nodes_one_of_which_fails(cluster, project):
    arguments = ("--seeds", "1,2,3", "--epochs", "12")
    process = cluster.start(project, *CELLS, *QUICK, *arguments, *LAUNCH, *folders("nodes"))
    wait_for_training(project, "nodes", process)
    trains = json.loads(next((project / "nodes").rglob("progress/*.json")).read_text())
    assert trains["epochs"] == 12
    cluster.script("fail", "n1")
    slurm.wait_for(
        lambda: "down" in cluster.call("sinfo", "-h", "-o", "%t"), "a node down", process
    )
    cluster.script("repair", "n1")
    output, error = process.communicate()
    assert process.returncode == 0, error
    assert "3 jobs are submitted" in error
    assert "seed 3: running on n" in error
    assert "3 done" in error
    assert "My Net" in output
    assert "(n=3)" in (project / "nodes/results/digits.md").read_text()
    assert re.search(r"continuing in epoch \d+ at step", logs(project, "nodes"))
    assert weights(project, "nodes") == train_here(project, *arguments)

    # Nothing is left to submit, and the tables are shown again.
    again = cluster.run(project, *CELLS, *QUICK, *arguments, *LAUNCH, *folders("nodes"))
    assert "0 jobs are submitted" in again.stderr
    assert "My Net" in again.stdout
    status = cluster.run(
        project, *CELLS, *QUICK, *arguments, *LAUNCH, *folders("nodes"), "--status"
    )
    assert status.returncode == 0
    assert status.stdout.splitlines()[-1] == "3 done"
