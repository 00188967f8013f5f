"""Runs a comparison of latencies: fresh processes one after the other, alone on the device."""

from __future__ import annotations

import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter

from harness.errors import CellError
from harness.jobs import LatencyJob, TimingJob
from harness.launch import local
from harness.measure.lock import device_lock
from harness.records.latency import LATENCIES
from harness.run.latency import ProcessTimes
from harness.run.latency_pool import pool_processes


def compare_in_children(job: LatencyJob, *, verbose: bool = False) -> int:
    """Time a job's models in as many processes as it says, and write what they found.

    Each loads the models and prepares the runtimes for itself; the next begins when it has ended,
    so that only one holds them in memory. The device is locked from the first to the last.

    Returns:
        An exit code, see `harness.launch.worker`; nothing is written unless all processes ended
        well.

    Raises:
        KeyboardInterrupt: After the process at work, which is interrupted too, has ended.
    """
    found = []
    with (
        tempfile.TemporaryDirectory() as folder,
        device_lock(job.jobs[0].cell.device, str(job)),
    ):
        started = datetime.now(UTC)
        for number in range(job.processes):
            answer = Path(folder) / f"{number}.json"
            timing = TimingJob(comparison=job, number=number, answer=answer)
            code = local.run_in_child(timing, verbose=verbose)
            if code:
                return code
            found.append(TypeAdapter(ProcessTimes).validate_json(answer.read_bytes()))
    record = pool_processes(job, found, started)
    try:
        LATENCIES.write(job.jobs[0].results_dir, record)
    except CellError as error:
        print(f"{job}: {error}", file=sys.stderr)
        return 1
    return int(any(row.reason for row in record.rows))
