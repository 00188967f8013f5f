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
    """Have a measurement do a job in a process of its own, so that its memory can be measured.

    Args:
        measurement: The name of the measurement.
        job: A dataclass of its `job_type`.
        request: Says whether the child may use the network, and whether it shows its log.

    Returns:
        0: it ended well; 1: something in it broke; 2: it was refused. The child has said why.

    Raises:
        CellError: The child was killed.
        KeyboardInterrupt: After the child, which is interrupted too, has ended.
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
    if code == 130:
        raise KeyboardInterrupt
    if code < 0:
        by = signal.Signals(-code).name
        hint = " (out of memory?)" if by == "SIGKILL" else ""
        raise CellError(f"the process was ended by {by}{hint}")
    return code if code in (0, 2) else 1
