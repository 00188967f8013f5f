"""The child process: reads one job from standard input, runs it, writes what it left.

Exit codes: 0 ok, 1 the cell failed (its record says why), 2 the request was wrong (one line on
standard error, nothing written), 130 interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
import urllib.request
from datetime import UTC, datetime

from pydantic import TypeAdapter

from harness.errors import CellError, RequestError
from harness.spec import CostJob, Job, LatencyJob

AnyJob = Job | LatencyJob | CostJob


def main() -> int:
    """Run the job on standard input and return the exit code."""
    job = TypeAdapter[AnyJob](AnyJob).validate_json(sys.stdin.readline())
    _die_with_parent()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("harness").setLevel(os.environ.get("MODELCOMPARISONS_LOG", "WARNING"))
    first = job if isinstance(job, Job) else job.jobs[0]
    if first.offline:
        _refuse_network()
    try:
        if isinstance(job, CostJob):
            return _count(job)
        return _run(job) if isinstance(job, Job) else _compare(job)
    except RequestError as error:
        print(f"{job}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _run(job: Job) -> int:
    from harness.networks import discard_checkpoint
    from harness.records import Record, write_record
    from harness.run import base_fields, run_cell

    started = datetime.now(UTC)
    try:
        record = run_cell(job)
    except RequestError:
        raise
    except Exception as error:  # anything may go wrong in a cell
        fields = base_fields(job, job.cell.model, started)
        record = Record(**fields, status="failed", reason=_explain(error))
    try:
        write_record(job.results_dir, record)
    except CellError as error:
        print(f"{job.cell}: {error}", file=sys.stderr)
        return 1
    if record.status != "ok":
        return 1
    discard_checkpoint(job, record.data_sha256)
    return 0


def _compare(job: LatencyJob) -> int:
    from harness.latency_records import write_latency_record
    from harness.side_by_side import run_latency_job

    try:
        record = run_latency_job(job)
        write_latency_record(job.jobs[0].results_dir, record)
    except RequestError:
        raise
    except Exception as error:  # and in a comparison
        print(f"{job}: {_explain(error)}", file=sys.stderr)
        return 1
    return int(any(row.reason for row in record.rows))


def _count(job: CostJob) -> int:
    from harness.cost_records import write_cost_record
    from harness.counting import count_costs

    code = 0
    for each in job.jobs:
        try:
            write_cost_record(each.results_dir, count_costs(each))
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


def _refuse_network() -> None:
    """Make every download in this process fail at once, as it would without a network."""

    class Refuse(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
        def http_open(self, req: urllib.request.Request) -> object:  # type: ignore[override]
            raise OSError(f"--offline: not fetching {req.full_url}")

        https_open = http_open  # type: ignore[assignment]

    urllib.request.install_opener(urllib.request.build_opener(Refuse))


if __name__ == "__main__":
    sys.exit(main())
