"""Jobs of a Slurm cluster: submitted by submitit, seen by squeue, ended by scancel.

Nothing here asks `sacct`, which fails on clusters without accounting.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import RequestError
from harness.launch.arrays import Group
from harness.launch.cluster import Cluster
from harness.registry import ROOT


class QueuedJob(NamedTuple):
    """A job that the cluster knows: its state in Slurm's words, and why it waits."""

    state: str
    node: str
    reason: str


def require_slurm() -> None:
    """Raise a RequestError where submitit is not installed, or there is no Slurm here."""
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

    Tasks are picklable by name and have a method `checkpoint`, as submitit calls it. The folder
    takes their logs and what submitit keeps. A RequestError says why Slurm takes none of them.
    """
    # Where submitit sets up logging, it closes the handlers of everything else in the process.
    os.environ.setdefault("SUBMITIT_LOG_LEVEL", "NOCONFIG")
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError

    # One more than may be: the worker counts, all that ended it and not time limits alone.
    executor = SlurmExecutor(folder, max_num_timeout=cluster.max_requeues + 1)
    further: dict[str, Any] = {
        name: True if value == "true" else value for name, value in cluster.sbatch.items()
    }
    if group.after is not None:
        further["dependency"] = f"afterany:{group.after}"
    asked = group.resources
    executor.update_parameters(
        job_name="modelcomparisons",
        partition=asked.partition,
        account=asked.account,
        qos=asked.qos,
        constraint=asked.constraint,
        time=asked.time,
        cpus_per_task=asked.cpus,
        gpus_per_node=asked.gpus or None,
        mem=asked.memory,
        exclusive=group.exclusive or None,
        array_parallelism=cluster.parallel or len(tasks),
        signal_delay_s=cluster.signal_seconds,
        stderr_to_stdout=True,
        # submitit's own is refused by clusters that know their keys.
        wckey=None,
        setup=[
            *cluster.setup,
            f"export PYTHONPATH={shlex.quote(str(ROOT))} PYTHONSAFEPATH=1",
            # From 22.05 on srun does not take these from sbatch.
            "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK",
        ],
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
    """Return the user's jobs that wait or run, by name; a RequestError if squeue fails."""
    told = _run("squeue", "--me", "--noheader", "--array", "--format=%i|%T|%N|%r")
    jobs = (line.strip().split("|", 3) for line in told.splitlines())
    return {name: QueuedJob(*facts) for name, *facts in jobs}


def cancel(jobs: Sequence[str]) -> None:
    """End jobs, waiting or running; a RequestError if scancel fails."""
    for first in range(0, len(jobs), 1000):
        _run("scancel", *jobs[first : first + 1000])


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RequestError(f"{command[0]} failed: {_last(done.stderr)}")
    return done.stdout


def _last(error: object) -> str:
    """Return the last line of what a command of Slurm said."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].removeprefix("sbatch: error: ") if lines else "it said nothing"
