"""Cells on a real Slurm cluster: the same weights as here, whatever ends a job in the middle."""

import json
import re
import subprocess

import pytest

from tests import slurm
from tests.commands import BRIEF, Running, copy_project, run

pytestmark = pytest.mark.skipif(bool(slurm.why_none()), reason=slurm.why_none())

OPTIONS = ("--dataset", "digits", "--threads", "1", "--offline", "--verbose")
CELLS = (*OPTIONS, "--model", "my_net")
SLOW_CELLS = (*OPTIONS, "--model", "my_slow")
PAUSE = """
class Pause(nn.Module):
    def forward(self, logits):
        import time

        time.sleep(0.1 if self.training else 0.0)
        return logits
"""
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
    (copy / "sitecustomize.py").write_text(slurm.SHORT_CUTS)
    # How often the cluster is asked.
    commands = copy / "harness" / "commands.py"
    text = commands.read_text()
    assert "_FOLLOW_SECONDS = 5.0" in text
    commands.write_text(text.replace("_FOLLOW_SECONDS = 5.0", "_FOLLOW_SECONDS = 1.0"))
    # The same network with a pause in each step of its training.
    slow = copy / "monolithic_architectures" / "my_slow" / "model.py"
    slow.parent.mkdir()
    text = (copy / "monolithic_architectures" / "my_net" / "model.py").read_text()
    text = text.replace("num_classes)]\n", "num_classes), Pause()]\n").replace("My Net", "My Slow")
    slow.write_text(text.replace("\n\ndef build", f"\n{PAUSE}\n\ndef build"))
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
    """Return the digest of the weights of each record, by seed; all must be ok."""
    found = {}
    for path in (project / name / "results/records/digits").glob("*.json"):
        record = json.loads(path.read_text())
        assert record["status"] == "ok", record["reason"]
        found[record["settings"]["seed"]] = record["weights"]["weights_sha256"]
    return found


def logs(project, name):
    return "".join(path.read_text() for path in (project / name).rglob("*_log.out"))


def train_here(project, *arguments, name):
    done = run(project, "comparisons.py", *CELLS, *BRIEF, *arguments, *folders(name))
    assert done.returncode == 0, done.stderr
    return weights(project, name)


def wait_for_training(project, name, process):
    """Wait until a training has written a checkpoint."""
    slurm.wait_for(lambda: list((project / name).rglob("*.checkpoint")), "a checkpoint", process)


def running_jobs(cluster):
    return [line.split()[0] for line in cluster.jobs() if " RUNNING " in line]


def test_three_cells_on_two_nodes_one_of_which_fails(cluster, project):
    arguments = ("--seeds", "1,2,3", "--epochs", "3")
    asked = (*CELLS, *BRIEF, *arguments, *LAUNCH, *folders("nodes"))
    process = cluster.start(project, *asked, SHORT_CUTS="1")
    wait_for_training(project, "nodes", process)
    cluster.script("fail", "n1")
    # What Slurm does by itself once the node has not answered for `SlurmdTimeout`.
    cluster.call("scontrol", "update", "NodeName=n1", "State=DOWN", "Reason=killed")
    cluster.script("repair", "n1")
    here = Running(project, "comparisons.py", *CELLS, *BRIEF, *arguments, *folders("here"))
    done = process.wait()
    assert done.returncode == 0, done.stderr
    assert "jobs submitted: 3" in done.stderr
    assert "seed 3: running on n" in done.stderr
    assert done.stderr.splitlines()[-1] == "3 done"
    assert "due to failure of node n1" in (cluster.folder / "log/ctld.log").read_text()
    assert "(n=3)" in done.stdout
    assert "(n=3)" in (project / "nodes/results/digits.md").read_text()
    assert here.wait().returncode == 0
    assert len(weights(project, "nodes")) == 3
    assert weights(project, "nodes") == weights(project, "here")
    status = cluster.run(project, *asked, "--status")
    assert (status.returncode, status.stdout.splitlines()[-1]) == (0, "3 done")


@pytest.mark.slow
def test_six_cells_are_those_of_a_local_run(cluster, project):
    arguments = ("--seeds", "1,2,3,4,5,6", "--epochs", "2")
    done = cluster.run(project, *CELLS, *BRIEF, *arguments, *LAUNCH, *folders("six"))
    assert done.returncode == 0, done.stderr
    found = weights(project, "six")
    assert len(set(found.values())) == 6
    assert found == train_here(project, *arguments, name="six_here")


@pytest.mark.slow
def test_requeued_and_preempted_jobs_go_on(cluster, project):
    arguments = ("--seeds", "1,2", "--epochs", "16")
    asked = (*SLOW_CELLS, *BRIEF, *arguments, *LAUNCH, *folders("again"))
    process = cluster.start(project, *asked)
    slurm.wait_for(
        lambda: len(list((project / "again").rglob("*.checkpoint"))) == 2, "checkpoints", process
    )
    requeued, preempted = running_jobs(cluster)
    cluster.call("scontrol", "requeue", requeued)
    cluster.call("scancel", "--signal=USR2", preempted)
    done = process.wait()
    assert done.returncode == 0, done.stderr
    log = logs(project, "again")
    assert log.count("continuing in epoch") == 2
    assert "Caught signal SIGUSR2" in log
    # The checkpoint of a signal is of the step that it came in, not of the last epoch.
    assert re.search(r"continuing in epoch \d+ at step ([2-9]|\d\d)", log)
    assert weights(project, "again") == train_here(project, *arguments, name="again_here")


@pytest.mark.slow
def test_a_time_limit_is_no_end(cluster, project):
    # Two minutes for a training that pauses for four.
    slurm.write_config(project, "max_requeues: 30\n", name="short.yaml", time=2)
    arguments = ("--seeds", "1", "--epochs", "54")
    launch = ("--launcher", "slurm", "--launcher-config", "short.yaml")
    done = cluster.run(project, *SLOW_CELLS, *BRIEF, *arguments, *launch, *folders("short"))
    assert done.returncode == 0, done.stderr
    log = logs(project, "short")
    assert log.count("continuing in epoch") >= 2
    assert "this job is timed-out" in log
    assert weights(project, "short") == train_here(project, *arguments, name="short_here")


@pytest.mark.slow
def test_a_job_that_never_ends_in_time_fails_at_last(cluster, project):
    slurm.write_config(project, "max_requeues: 1\n", name="endless.yaml", time=1)
    arguments = ("--seeds", "1", "--epochs", "1000")
    launch = ("--launcher", "slurm", "--launcher-config", "endless.yaml")
    done = cluster.run(project, *SLOW_CELLS, *BRIEF, *arguments, *launch, *folders("endless"))
    assert done.returncode == 1, done.stderr
    assert "failed: the cluster ended it 2 times" in done.stderr


@pytest.mark.slow
def test_each_trouble_is_named_and_ends_nothing_else(cluster, project):
    # This cluster has no accounting.
    with pytest.raises(subprocess.CalledProcessError):
        cluster.call("sacct")
    slurm.write_config(project, "partition: nowhere\n", name="nowhere.yaml")
    wrong = ("--launcher", "slurm", "--launcher-config", "nowhere.yaml", *folders("wrong"))
    done = cluster.run(project, *CELLS, *BRIEF, *wrong)
    assert done.returncode == 2
    assert "partition nowhere" in done.stderr
    assert "Invalid partition name specified" in done.stderr
    assert done.stderr.count("\n") == 1

    # One cell breaks, one is of another version by the time that it runs, one is well.
    bad = (*folders("trouble"), "--epochs", "1")
    cluster.call("scontrol", "update", "NodeName=n1,n2", "State=drain", "Reason=test")
    asked = (*CELLS, *BRIEF, *LAUNCH, *bad)
    broken = (*asked, "--set", "training.learning_rate=1e4", "--set", "training.optimizer=sgd")
    assert cluster.run(project, *broken, "--detach").returncode == 0
    assert cluster.run(project, *asked, "--seeds", "1", "--detach").returncode == 0
    changed = project / "harness" / "jobs.py"
    changed.write_text(changed.read_text() + "# another version\n")
    assert cluster.run(project, *asked, "--seeds", "2", "--detach").returncode == 0
    cluster.call("scontrol", "update", "NodeName=n1,n2", "State=resume")
    slurm.wait_for(lambda: not cluster.jobs(), "the end of all jobs")
    broke = cluster.run(project, *broken, "--status")
    assert broke.returncode == 1
    assert "refused: code or settings" in broke.stdout
    refused = cluster.run(project, *asked, "--seeds", "1,2", "--status")
    assert refused.returncode == 1
    assert "seed 1: refused: code or settings" in refused.stdout
    assert "seed 2: done" in refused.stdout

    # What was refused is submitted again, and now it breaks.
    done = cluster.run(project, *broken)
    assert done.returncode == 1
    assert "failed: training loss is nan" in done.stderr
    again = cluster.run(project, *broken, "--retry", "2")
    assert again.returncode == 1
    assert "jobs submitted: 1" in again.stderr


@pytest.mark.slow
def test_cancelled_jobs_end_and_go_on_later(cluster, project):
    arguments = ("--seeds", "1", "--epochs", "30")
    asked = (*SLOW_CELLS, *BRIEF, *arguments, *LAUNCH, *folders("cancelled"))
    assert cluster.run(project, *asked, "--detach").returncode == 0
    slurm.wait_for(lambda: list((project / "cancelled").rglob("*.checkpoint")), "a checkpoint")
    cancelled = cluster.run(project, *asked, "--cancel")
    assert (cancelled.returncode, cancelled.stderr) == (0, "jobs cancelled: 1\n")
    slurm.wait_for(lambda: not cluster.jobs(), "the end of the job")
    assert "stopped: the cluster has ended this job" in logs(project, "cancelled")
    assert cluster.run(project, *asked, "--status").returncode == 1
    done = cluster.run(project, *asked)
    assert done.returncode == 0, done.stderr
    assert "continuing in epoch" in logs(project, "cancelled")


@pytest.mark.slow
def test_searches_on_nodes_are_those_of_a_local_run_and_workers_share_one(cluster, project):
    tune = (*OPTIONS, "--model", "my_net,my_slow", "--tune", "4", "--tune-budget", "128x2")

    def studies(name):
        paths = sorted((project / name / "results/tuning/digits").glob("*.json"))
        return [json.loads(path.read_text()) for path in paths]

    def trials(study):
        return [(each["values"], each["accuracy"], each["state"]) for each in study["trials"]]

    done = cluster.run(project, *tune, *LAUNCH, *folders("tuned"), SHORT_CUTS="1")
    assert done.returncode == 0, done.stderr
    assert "jobs submitted: 2" in done.stderr
    here = run(project, "comparisons.py", *tune, *folders("tuned_here"))
    assert here.returncode == 0, here.stderr
    assert [trials(each) for each in studies("tuned")] == [
        trials(each) for each in studies("tuned_here")
    ]
    assert done.stdout.splitlines()[-3:] == here.stdout.splitlines()[-3:]

    shared = (*tune, "--tune-workers", "2", *folders("shared"))
    done = cluster.run(project, *shared, *LAUNCH, SHORT_CUTS="1")
    assert done.returncode == 0, done.stderr
    assert "jobs submitted: 4" in done.stderr
    for study in studies("shared"):
        assert [each["number"] for each in study["trials"]] == [0, 1, 2, 3]
        assert study["budget"]["trials"] == 4
