"""A process that trains a network together with others, or the one that runs torchrun for them.

The arguments are `train` or `start`, and the job as JSON.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from harness.errors import RequestError
from harness.jobs import Job
from harness.run.together import tell
from harness.training.tracker import UNTRACKED, Tracker
from harness.util.error_text import explain
from harness.util.offline import go_offline
from harness.util.parent import end_with_parent


def main(role: str, text: str) -> int:
    """Train a share of every batch of a job, or start the processes that do."""
    from pydantic import TypeAdapter

    end_with_parent()
    # Slurm sends it to all processes of a job; the one that started these ends them.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    job: Job = TypeAdapter(Job).validate_json(text)
    if role == "start":
        return _start(job, text)
    rank, processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if rank:
        # The first process says all that is to be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    else:
        logging.getLogger("harness").addHandler(_Log())
        logging.getLogger("harness").setLevel("INFO")
        logging.getLogger("harness").propagate = False
    if job.offline:
        go_offline()
    try:
        _train(job, rank, processes)
    except Exception as error:
        kind = "RequestError" if isinstance(error, RequestError) else "CellError"
        tell("error", [kind, explain(error)])
        return 1
    return 0


def _train(job: Job, rank: int, processes: int) -> None:
    import torch

    from harness.catalog import load_model
    from harness.data.loading import load_job_data
    from harness.data.shares import Share
    from harness.measure.conditions import set_threads
    from harness.networks.weights_files import unfinished_path
    from harness.training.fit import learn

    set_threads(job.settings.threads)
    if job.training_device == "cuda":
        torch.cuda.set_device(rank)
    spec = load_model(job.cell.model)
    data = load_job_data(job, spec)
    path, share = unfinished_path(job, data.source.sha256), Share(rank=rank, processes=processes)
    _, sidecar = learn(job, spec, data, path, _Epochs() if rank == 0 else UNTRACKED, share=share)
    if rank == 0:
        tell("start", sidecar.start)


def _start(job: Job, text: str) -> int:
    """Run torchrun, and tell which process was killed."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.getLogger("torch.distributed").setLevel("CRITICAL")
    count = f"--nproc-per-node={job.settings.training.processes}"
    try:
        arguments = run.parse_args(["--standalone", count, "-m", "harness.run.rank", "train", text])  # type: ignore[no-untyped-call]
        run.run(arguments)  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        for rank, failure in error.failures.items():
            # Torchrun itself ends the others by SIGTERM.
            if failure.exitcode < 0 and failure.exitcode != -signal.SIGTERM:
                tell("killed", [rank, -failure.exitcode])
        return 1
    return 0


class _Epochs(Tracker):
    """Passes epochs on."""

    def log_epoch(self, entry: Mapping[str, Any]) -> None:
        """Tell of an epoch."""
        tell("epoch", dict(entry))


class _Log(logging.Handler):
    """Passes log lines on."""

    def emit(self, record: logging.LogRecord) -> None:
        """Tell of a line."""
        tell("log", [record.name, record.levelno, self.format(record)])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
