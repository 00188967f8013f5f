"""Runs a job in a child process on this machine."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from harness.errors import CellError
from harness.jobs import Request
from harness.registry import ROOT
from harness.util import stopping

_WORKER = "harness.measurements.worker"
PROGRESS = "MODELCOMPARISONS_PROGRESS"
"""Environment variable that names the file to which a worker writes each epoch of training."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where children run, and what becomes of what they say.

    Attributes:
        gpu: The one GPU that they see, as `CUDA_VISIBLE_DEVICES` names it; None: those of this
            process.
        log: The file that takes what they print; None: they print where this process does.
        progress: The file that takes each epoch of training, if any.
        failure: Why no child is to be started at all, if there is a reason.
    """

    gpu: str | None = None
    log: Path | None = None
    progress: Path | None = None
    failure: str | None = None


_HERE = Place()
_PLACE = ContextVar("place", default=_HERE)
_children: set[subprocess.Popen[bytes]] = set()


@contextlib.contextmanager
def children_at(place: Place) -> Iterator[None]:
    """Let `run_in_child` start the children of this thread at a place while the block runs."""
    token = _PLACE.set(place)
    try:
        yield
    finally:
        _PLACE.reset(token)


def run_in_child(measurement: str, job: object, request: Request) -> int:
    """Do a job in a child process, so that its memory can be measured.

    The job is a dataclass of the measurement's `job_type`; `offline` and `verbose` of the request
    apply to the child.

    Returns:
        0: it ended well; 1: something in it failed; 2: it was refused. The child printed why.

    Raises:
        CellError: The child was killed, or the place has a failure.
        KeyboardInterrupt: The user or the cluster interrupted the child, which has ended.
    """
    from pydantic import TypeAdapter

    options = [f"--{name}" for name in ("offline", "verbose") if getattr(request, name)]
    place = _PLACE.get()
    if place.failure is not None:
        raise CellError(place.failure)
    own = {"CUDA_VISIBLE_DEVICES": place.gpu, PROGRESS: place.progress}
    own |= {"PYTHONPATH": ROOT, "PYTHONSAFEPATH": "1"}
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(place.log.open("ab")) if place.log else None
        child = subprocess.Popen(
            [sys.executable, "-m", _WORKER, measurement, *options],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=os.environ | {name: str(value) for name, value in own.items() if value is not None},
        )
        code = _hand_over(child, TypeAdapter(type(job)).dump_json(job) + b"\n")
    if code == 130 or -code in stopping.SIGNALS:
        raise KeyboardInterrupt
    if code < 0:
        raise CellError(f"the process {stopping.describe_end(-code)}")
    return code if code in (0, 2) else 1


def _hand_over(child: subprocess.Popen[bytes], job: bytes) -> int:
    """Give a child its job, and return the code that it ends with."""
    # The pipe stays open, because the child ends itself when the pipe closes.
    pipe = cast("IO[bytes]", child.stdin)
    pipe.write(job)
    pipe.flush()
    _children.add(child)
    try:
        return child.wait()
    except KeyboardInterrupt:
        child.wait()
        raise
    finally:
        _children.discard(child)
        pipe.close()


def stop_children() -> None:
    """Let all children write their checkpoints and end; return when they have.

    This may be called by a handler of a signal, even of one that came while a child is waited for.
    """
    for child in tuple(_children):
        child.send_signal(stopping.SIGNALS[0])
    for child in tuple(_children):
        # Not `wait`, which this thread may be in; and whoever waits gets the code.
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
