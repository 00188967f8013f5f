"""Runs a job in a child process on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from harness.errors import CellError
from harness.jobs import Request
from harness.registry import ROOT

_WORKER = "harness.measurements.worker"


def run_in_child(measurement: str, job: object, request: Request) -> int:
    """Do a job in a child process, so that its memory can be measured.

    Args:
        measurement: Name of the measurement.
        job: A dataclass of the measurement's `job_type`.
        request: Its `offline` and `verbose` apply to the child.

    Returns:
        0: it ended well; 1: something in it failed; 2: it was refused. The child printed why.

    Raises:
        CellError: The child was killed.
        KeyboardInterrupt: The user interrupted the child, which has ended.
    """
    from pydantic import TypeAdapter

    options = [f"--{name}" for name in ("offline", "verbose") if getattr(request, name)]
    child = subprocess.Popen(
        [sys.executable, "-m", _WORKER, measurement, *options],
        stdin=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"},
    )
    if child.stdin is None:
        raise RuntimeError("a pipe to the child was asked for")
    # The pipe stays open, because the child ends itself when the pipe closes.
    child.stdin.write(TypeAdapter(type(job)).dump_json(job) + b"\n")
    child.stdin.flush()
    try:
        code = child.wait()
    except KeyboardInterrupt:
        child.wait()
        raise
    finally:
        child.stdin.close()
    if code == 130:
        raise KeyboardInterrupt
    if code < 0:
        by = signal.Signals(-code).name
        hint = " (out of memory?)" if by == "SIGKILL" else ""
        raise CellError(f"the process was ended by {by}{hint}")
    return code if code in (0, 2) else 1
