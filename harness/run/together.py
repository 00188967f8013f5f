"""Training of one network by several processes of this machine, which torchrun starts.

The process of the cell waits for them: it has the tracker and the log, and measures the network
afterwards. The processes send it messages, each one line of JSON on standard output: a name and
what belongs to it.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import subprocess
import sys
from typing import Any

import torch
from pydantic import TypeAdapter

from harness.errors import CellError, RequestError
from harness.jobs import Job
from harness.registry import ROOT
from harness.training.tracker import Tracker
from harness.util.stopping import describe_end

_ERRORS = {"RequestError": RequestError, "CellError": CellError}


def learn_together(job: Job, tracker: Tracker) -> str:
    """Train the network of a cell in `training.processes` processes, which save its weights.

    Threads are divided among them. They end when this process does. A RequestError says that one of
    them refused the request, a CellError that one broke or was killed.

    Returns:
        What training started from: imagenet or random.
    """
    processes = job.settings.training.processes
    threads = max(1, torch.get_num_threads() // processes)
    settings = dataclasses.replace(job.settings, threads=threads)
    text = TypeAdapter(Job).dump_json(dataclasses.replace(job, settings=settings)).decode()
    told: dict[str, Any] = {}
    with subprocess.Popen(
        [sys.executable, "-m", "harness.run.rank", "start", text],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # A Ctrl-C reaches this process alone, and ends the others by closing their input.
        start_new_session=True,
        env=os.environ
        | {
            "PYTHONPATH": str(ROOT),
            "PYTHONSAFEPATH": "1",
            "OMP_NUM_THREADS": str(threads),
            # Torch warns where all parameters are used, as they mostly are.
            "TORCH_CPP_LOG_LEVEL": "ERROR",
        },
    ) as leader:
        for line in leader.stdout or ():
            name, value = _read(line)
            if name == "epoch":
                tracker.log_epoch(value)
            elif name == "log":
                logging.getLogger(value[0]).log(value[1], "%s", value[2])
            else:
                # The first error is the cause of the others.
                told.setdefault(name, value)
    if "killed" in told:
        rank, number = told["killed"]
        raise CellError(f"training process {rank} of {processes} {describe_end(number)}")
    if leader.returncode or "start" not in told:
        kind, text = told.get("error", ("CellError", "the processes ended without a word"))
        raise _ERRORS[kind](f"training in {processes} processes: {text}")
    return str(told["start"])


def tell(name: str, value: object) -> None:
    """Send a message to the process that waits in `learn_together`."""
    print(json.dumps([name, value]), flush=True)


def _read(line: str) -> tuple[str, Any]:
    """Return the name and value of a message; what libraries print is shown and has no name."""
    try:
        name, value = json.loads(line)
    except (TypeError, ValueError):
        print(line, end="", file=sys.stderr)
        return "", None
    return str(name), value
