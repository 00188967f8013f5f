"""Measurement of latencies side by side: all models timed in the same rounds, without training.

They are timed in new processes, one after the other, which have the device for themselves.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from harness.jobs import LatencyJob, Part, Request, Result
from harness.launch.local import run_in_child
from harness.launch.parts import part_of
from harness.measurements.contract import Measurement, Outcome


@dataclass(frozen=True, kw_only=True)
class TimingJob:
    """The job of one process of a comparison, by number from 0; the answer is its result's file."""

    comparison: LatencyJob
    number: int
    answer: Path

    def __str__(self) -> str:
        return str(self.comparison)


class LatencySideBySide(Measurement[LatencyJob, TimingJob]):
    """The latencies of all models of a data set, as a ratio to that of one of them."""

    name = "latency"
    help_text = "latency: all models side by side, nothing trained"
    job_type = TimingJob
    own_options: ClassVar = {
        "runtimes": "--runtime goes with --measure latency",
        "reference": "--reference goes with --measure latency",
    }

    def plan(self, request: Request) -> Sequence[LatencyJob]:
        """Return a job for each data set."""
        from harness.plan.latency import plan_latency

        return plan_latency(request)

    def describe(self, planned: Sequence[LatencyJob]) -> None:
        """Print which models would be compared."""
        for job in planned:
            models = ", ".join(each.cell.model for each in job.jobs)
            print(f"{job}: {_summary(job)}: {models}; reference {job.reference}")

    def run(self, planned: LatencyJob, request: Request) -> int:
        """Time the models in as many processes as the settings say, and write their record.

        They run one after the other, so that only one of them holds the models in memory. The
        device is locked from the first to the last. Nothing is written unless all end well.
        """
        from pydantic import TypeAdapter

        from harness.measure.lock import device_lock
        from harness.records.latency import LATENCIES
        from harness.run.latency import ProcessTimes
        from harness.run.latency_pool import pool_processes

        print(f"{planned}: {_summary(planned)}", file=sys.stderr)
        first, found = planned.jobs[0], []
        lock = device_lock(first.cell.device, str(planned))
        with tempfile.TemporaryDirectory() as folder, lock:
            started = datetime.now(UTC)
            for number in range(planned.processes):
                answer = Path(folder) / f"{number}.json"
                timing = TimingJob(comparison=planned, number=number, answer=answer)
                code = run_in_child(self.name, timing, request)
                if code:
                    return code
                found.append(TypeAdapter(ProcessTimes).validate_json(answer.read_bytes()))
        record = pool_processes(planned, found, started)
        LATENCIES.write(first.results_dir, record)
        return int(any(row.reason for row in record.rows))

    def work(self, job: TimingJob) -> int:
        """Time the models in this process, and write the result for `run` to read."""
        from pydantic import TypeAdapter

        from harness.measure.conditions import fp32_precision
        from harness.run.latency import ProcessTimes, time_models
        from harness.util.files import write_text

        with fp32_precision(job.comparison.jobs[0].settings.measurement.fp32_precision):
            times = time_models(job.comparison, job.number)
        write_text(job.answer, TypeAdapter(ProcessTimes).dump_json(times).decode())
        return 0

    def show(self, outcome: Outcome[LatencyJob]) -> None:
        """Print the comparisons that were made now."""
        from harness.records.latency import LATENCIES
        from harness.report.latency import print_latency

        records = LATENCIES.read_good(outcome.results)[0]
        print_latency([each for each in records if each.provenance.started >= outcome.began])

    def split_off(self, planned: LatencyJob, request: Request) -> Part:
        """Return the request for one comparison, which has its machine for itself."""
        models = [job.cell.model for job in planned.jobs]
        dataset = planned.jobs[0].cell.dataset
        return part_of(request, str(planned), dataset, models, exclusive=True)

    def find_result(self, planned: LatencyJob) -> Result | None:
        """Return what the newest record of this comparison says, with any number of threads."""
        from harness.records.latency import LATENCIES

        records = LATENCIES.read_all(planned.jobs[0].results_dir)
        own = [each for each in records if each.provenance.command == planned.command]
        if not own:
            return None
        record = max(own, key=lambda each: each.provenance.started)
        reasons = [f"{row.model}: {row.reason}" for row in record.rows if row.reason]
        return Result(started=record.provenance.started, reason="; ".join(reasons) or None)


def _summary(job: LatencyJob) -> str:
    runtimes, count = ", ".join(job.runtimes), job.processes
    return f"{len(job.jobs)} models in {runtimes}; {count} process{'es' if count > 1 else ''}"
