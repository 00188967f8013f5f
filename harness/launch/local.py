"""Runs a job in a child process on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime

from pydantic import TypeAdapter

from harness.jobs import CostJob, Job, TimingJob
from harness.records.cell import CELLS, Record, Status, used_settings
from harness.records.parts import Provenance
from harness.registry import ROOT


def run_in_child(job: Job | TimingJob | CostJob, *, verbose: bool = False) -> int:
    """Run a job to its end in a process of its own, so that its memory can be measured.

    Returns:
        The child's exit code, see `harness.launch.worker`. A child that was killed leaves a
        failed record of its cell.

    Raises:
        KeyboardInterrupt: After the child, which is interrupted too, has ended.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    first = job if isinstance(job, Job) else job.jobs[0]
    if first.offline:
        environment |= {"HF_HUB_OFFLINE": "1"}
    if verbose:
        environment |= {"MODELCOMPARISONS_LOG": "INFO"}
    child = subprocess.Popen(
        [sys.executable, "-m", "harness.launch.worker"],
        stdin=subprocess.PIPE,
        env=environment,
    )
    if child.stdin is None:
        raise RuntimeError("a pipe to the child was asked for")
    # The pipe stays open: the child ends itself when it closes.
    child.stdin.write(TypeAdapter(type(job)).dump_json(job) + b"\n")
    child.stdin.flush()
    try:
        code = child.wait()
    except KeyboardInterrupt:
        child.wait()
        raise
    finally:
        child.stdin.close()
    if code < 0:
        _report_killed(job, signal.Signals(-code).name)
    return code if code in (0, 2, 130) else 1


def note_unsupported(job: Job, label: str, reason: str) -> None:
    """Write the record of a cell that cannot run on its device."""
    CELLS.write(job.results_dir, _unmeasured(job, label, "unsupported", reason))


def _report_killed(job: Job | TimingJob | CostJob, by: str) -> None:
    hint = " (out of memory?)" if by == "SIGKILL" else ""
    reason = f"the process was ended by {by}{hint}"
    if not isinstance(job, Job):
        print(f"{job}: {reason}", file=sys.stderr)
        return
    CELLS.write(job.results_dir, _unmeasured(job, job.cell.model, "failed", reason))


def _unmeasured(job: Job, label: str, status: Status, reason: str) -> Record:
    return Record(
        cell=job.cell,
        label=label,
        status=status,
        reason=reason,
        settings=used_settings(job),
        provenance=Provenance(
            started=datetime.now(UTC).isoformat(timespec="seconds"), command=job.command
        ),
    )
