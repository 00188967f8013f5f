"""Jobs of a Slurm cluster: submitted by submitit, seen by squeue, ended by scancel.

Nothing here asks `sacct`, which fails on clusters without accounting.
"""

from __future__ import annotations

import contextlib
import io
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.errors import RequestError
from harness.launch.arrays import Group
from harness.launch.cluster import Cluster
from harness.registry import ROOT


@dataclass(frozen=True, kw_only=True)
class QueuedJob:
    """A job that the cluster knows.

    Attributes:
        state: Slurm's name of its state, as PENDING or RUNNING.
        node: The node that runs it; empty where none does.
        reason: Why it waits.
    """

    state: str
    node: str
    reason: str


def require_slurm() -> None:
    """Make sure that jobs can be submitted from here.

    Raises:
        RequestError: submitit is not installed, or there is no Slurm here.
    """
    if find_spec("submitit") is None:
        raise RequestError(
            "--launcher slurm needs submitit: uv sync --extra slurm, or pip install submitit "
            "(version in pyproject.toml)"
        )
    for command in ("sbatch", "srun", "squeue", "scancel"):
        if shutil.which(command) is None:
            raise RequestError(f"--launcher slurm: there is no {command} here: is Slurm installed?")


def submit(
    tasks: Sequence[Callable[[], Any]], group: Group, cluster: Cluster, folder: Path
) -> list[str]:
    """Submit tasks as one array, and return the names of its jobs.

    Args:
        tasks: Picklable by name; with a method `checkpoint`, as submitit calls it.
        group: What they ask for.
        cluster: The other settings.
        folder: Takes logs and what submitit keeps.

    Raises:
        RequestError: Slurm refuses them; nothing was submitted.
    """
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError

    # One more than may be: the worker counts, all that ended it and not time limits alone.
    executor = SlurmExecutor(folder, max_num_timeout=cluster.max_requeues + 1)
    further: dict[str, Any] = {
        name: True if value == "true" else value for name, value in cluster.sbatch.items()
    }
    if group.after is not None:
        further["dependency"] = f"afterany:{group.after}"
    resources = group.resources
    executor.update_parameters(
        job_name="modelcomparisons",
        partition=resources.partition,
        account=resources.account,
        qos=resources.qos,
        constraint=resources.constraint,
        time=resources.time,
        cpus_per_task=resources.cpus,
        gpus_per_node=resources.gpus or None,
        mem=resources.memory,
        exclusive=group.exclusive or None,
        array_parallelism=cluster.parallel or len(tasks),
        signal_delay_s=cluster.signal_seconds,
        stderr_to_stdout=True,
        # submitit's own is refused by clusters that know their keys.
        wckey=None,
        setup=_setup(cluster),
        additional_parameters=further or None,
    )
    try:
        # submitit also prints what sbatch has said.
        with contextlib.redirect_stderr(io.StringIO()):
            jobs = executor.submit_array(tasks)
    except FailedJobError as error:
        raise RequestError(
            f"sbatch refused {len(tasks)} jobs ({group.describe()}): {_last(error)}"
        ) from None
    return [str(job.job_id) for job in jobs]


def list_jobs() -> dict[str, QueuedJob]:
    """Return the user's jobs that wait or run, by name.

    Raises:
        RequestError: squeue failed.
    """
    found = {}
    for line in _run(
        "squeue", "--me", "--noheader", "--array", "--format=%i|%T|%N|%r"
    ).splitlines():
        name, state, node, reason = line.strip().split("|", 3)
        found[name] = QueuedJob(state=state, node=node, reason=reason)
    return found


def cancel(jobs: Sequence[str]) -> None:
    """End jobs, waiting or running.

    Raises:
        RequestError: scancel failed.
    """
    for first in range(0, len(jobs), 1000):
        _run("scancel", *jobs[first : first + 1000])


def _setup(cluster: Cluster) -> list[str]:
    """Return the lines of bash that a job runs first."""
    return [
        *cluster.setup,
        f"export PYTHONPATH={shlex.quote(str(ROOT))} PYTHONSAFEPATH=1",
        # From 22.05 on srun does not take these from sbatch.
        "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK",
    ]


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RequestError(f"{command[0]} failed: {_last(done.stderr)}")
    return done.stdout


def _last(error: object) -> str:
    """Return the last line of what a command of Slurm said."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].removeprefix("sbatch: error: ") if lines else "it said nothing"
