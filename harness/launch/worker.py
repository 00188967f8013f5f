"""The child process: reads one job from standard input, runs it, writes what it left.

Exit codes: 0 ok, 1 the cell failed (its record says why), 2 the request was wrong (one line on
standard error, nothing written), 130 interrupted.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
import threading
import traceback
import urllib.request
from datetime import UTC, datetime

from pydantic import TypeAdapter

from harness.errors import CellError, RequestError
from harness.jobs import CostJob, Job, TimingJob
from harness.training.tracker import Tracker

AnyJob = Job | TimingJob | CostJob


def main() -> int:
    """Run the job on standard input and return the exit code."""
    job = TypeAdapter[AnyJob](AnyJob).validate_json(sys.stdin.readline())
    _die_with_parent()
    logging.basicConfig(format="%(message)s")
    # Trackers take what is not shown, too.
    logging.getLogger("harness").setLevel("INFO")
    for handler in logging.getLogger().handlers:
        handler.setLevel(os.environ.get("MODELCOMPARISONS_LOG", "WARNING"))
    first = job if isinstance(job, Job) else job.jobs[0]
    if first.offline:
        refuse_network()
    try:
        if isinstance(job, CostJob):
            return _count(job)
        return _run(job) if isinstance(job, Job) else _time(job)
    except RequestError as error:
        print(f"{job}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _run(job: Job) -> int:
    from harness.tracking.run import open_tracker

    with open_tracker(job) as tracker:
        return _run_tracked(job, tracker)


def _run_tracked(job: Job, tracker: Tracker) -> int:
    from harness.records.cell import CELLS
    from harness.run.cell import begin_record, run_cell
    from harness.run.provision import discard_checkpoint

    started = datetime.now(UTC)
    try:
        record = run_cell(job, tracker)
    except RequestError:
        raise
    except Exception as error:  # anything may go wrong in a cell
        blank = begin_record(job, job.cell.model, started)
        record = dataclasses.replace(blank, reason=_explain(error))
    try:
        path = CELLS.write(job.results_dir, record)
    except CellError as error:
        print(f"{job.cell}: {error}", file=sys.stderr)
        return 1
    if record.status == "ok":
        discard_checkpoint(job, record.data.data_sha256)
    tracker.log_record(record, path)
    return int(record.status != "ok")


def _time(job: TimingJob) -> int:
    from harness.run.latency import ProcessTimes, time_models
    from harness.util.files import write_text

    try:
        times = time_models(job.comparison, job.number)
        write_text(job.answer, TypeAdapter(ProcessTimes).dump_json(times).decode())
    except RequestError:
        raise
    except Exception as error:  # and in a comparison
        print(f"{job}: {_explain(error)}", file=sys.stderr)
        return 1
    return 0


def _count(job: CostJob) -> int:
    from harness.records.cost import COSTS
    from harness.run.count import count_costs

    code = 0
    for each in job.jobs:
        try:
            COSTS.write(each.results_dir, count_costs(each))
        except Exception as error:  # one model must not be in the way of the next
            print(
                f"{job.jobs[0].cell.dataset}/{each.cell.model}: {_explain(error)}", file=sys.stderr
            )
            code = 1
    return code


def _explain(error: Exception) -> str:
    """Return one line on what went wrong; the log has the rest."""
    logging.getLogger("harness").info("%s", traceback.format_exc())
    ours = isinstance(error, (CellError, RequestError))
    reason = str(error) if ours else f"{type(error).__name__}: {error}"
    return " ".join(reason.split())[:500]


def _die_with_parent() -> None:
    """End this process when standard input closes: the parent is gone, nobody waits for us."""

    def watch() -> None:
        # The file descriptor itself: a lock on sys.stdin would be in the way at shutdown.
        while os.read(sys.stdin.fileno(), 4096):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def refuse_network() -> None:
    """Make every download in this process fail at once, as it would without a network."""

    class Refuse(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
        def http_open(self, req: urllib.request.Request) -> object:  # type: ignore[override]
            raise OSError(f"--offline: not fetching {req.full_url}")

        https_open = http_open  # type: ignore[assignment]

    urllib.request.install_opener(urllib.request.build_opener(Refuse))


if __name__ == "__main__":
    sys.exit(main())
