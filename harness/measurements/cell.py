"""Measurement of whole cells: a model trained or loaded, with its accuracy and all its costs."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar

from harness.errors import CellError, RequestError
from harness.jobs import Job, Part, Request, Result
from harness.launch.local import run_in_child
from harness.launch.parts import part_of
from harness.launch.progress import reported
from harness.measurements.contract import Measurement, Outcome
from harness.registry import REFERENCE_RESULTS
from harness.util import stopping
from harness.util.error_text import explain

if TYPE_CHECKING:
    from harness.plan.cells import Planned
    from harness.records.cell import Record, Status


class WholeCell(Measurement["Planned", Job]):
    """All figures of cells; cells that are done are not run again."""

    name = "all"
    help_text = "all"
    job_type = Job
    own_options: ClassVar = {
        "trackers": "--tracker goes with --measure all: --measure {measure} trains no cell",
        "fair": "--fair goes with --measure all: --measure {measure} trains no cell",
        "seeds": "--seeds goes with training: leave it out with --measure {measure}",
    }
    after_interruption = "goes on from the last checkpoint"

    def plan(self, request: Request) -> Sequence[Planned]:
        """Return the cells, each with its next action."""
        from harness.plan.cells import plan_request

        return plan_request(request)

    def describe(self, planned: Sequence[Planned]) -> None:
        """Print the action and the rough duration of each cell."""
        from harness.plan.duration import rough_seconds
        from harness.report.table import Table
        from harness.report.terminal import print_table
        from harness.util.progress import describe_seconds

        rows = [
            (str(each), each.action, each.detail, describe_seconds(rough_seconds(each)))
            for each in planned
        ]
        print_table(Table.of_texts(("cell", "action", "what", "rough cost"), rows, align="llll"))

    def run(self, planned: Planned, request: Request) -> int:
        """Run a cell that is not done; one whose process is killed gets a record too."""
        print(f"{planned}: {planned.action}: {planned.detail}", file=sys.stderr)
        if planned.action == "done":
            return 0
        if planned.action == "unsupported":
            _write_unmeasured(planned, "unsupported", planned.detail)
            return 1
        try:
            return run_in_child(self.name, planned.job, request)
        except CellError as error:
            _write_unmeasured(planned, "failed", str(error))
            return 1

    def work(self, job: Job) -> int:
        """Run the cell, log it to its trackers, and write its record."""
        from harness.measure.conditions import fp32_precision
        from harness.plan.duration import count_epochs
        from harness.records.cell import CELLS
        from harness.run.cell import begin_record, run_cell
        from harness.run.provision import discard_checkpoint
        from harness.tracking.run import open_tracker

        started = datetime.now(UTC)
        with open_tracker(job) as opened:
            tracker = reported(opened, count_epochs(job.settings))
            try:
                with fp32_precision(job.settings.measurement.fp32_precision):
                    record = run_cell(job, tracker)
            except RequestError:
                raise
            except Exception as error:  # anything may go wrong in a cell
                if stopping.asked():
                    # The signal may have ended processes that this one needs.
                    raise KeyboardInterrupt from error
                blank = begin_record(job, job.cell.model, started)
                record = dataclasses.replace(blank, reason=explain(error))
            path = CELLS.write(job.results_dir, record)
            if record.status == "ok":
                discard_checkpoint(job, record.data.data_sha256)
            tracker.log_record(record, path)
        return int(record.status != "ok")

    def show(self, outcome: Outcome[Planned]) -> None:
        """Print the records of the cells beside published figures, then the reference results."""
        from harness.report.tables import print_records

        jobs = [item.job for item in outcome.ran]
        print_records(list(filter(None, map(_find_record, jobs))))
        if outcome.results != REFERENCE_RESULTS:
            jobs = [dataclasses.replace(job, results_dir=REFERENCE_RESULTS) for job in jobs]
            print_records(list(filter(None, map(_find_record, jobs))), "the reference results")

    def is_settled(self, planned: Planned) -> bool:
        """Return whether an equal record exists, or the cell cannot run on its device."""
        return planned.action in ("done", "unsupported")

    def split_off(self, planned: Planned, request: Request) -> Part:
        """Return the request for one cell; a compressed one waits for the training of its base."""
        cell, seed = planned.job.cell, planned.job.settings.seed
        own = dataclasses.replace(request, seeds=str(seed) if request.seeds else None)
        part = part_of(own, str(planned), cell.dataset, [cell.model])
        if planned.first is None:
            return part
        base = part_of(own, "", cell.dataset, [planned.first.job.cell.model])
        return dataclasses.replace(part, after=base.key)

    def estimate_seconds(self, planned: Planned) -> float | None:
        """Return a rough duration; None for a GPU that is not here."""
        import torch

        from harness.plan.duration import rough_seconds

        if planned.job.training_device == "cuda" and not torch.cuda.is_available():
            return None
        return rough_seconds(planned)

    def find_result(self, planned: Planned) -> Result | None:
        """Return what the record of a cell says, if it is what the plan asks for."""
        from harness.plan.cells import find_job_record, has_settings

        record, before = find_job_record(planned.job), planned.record
        if record is None or not has_settings(record, planned.job):
            return None
        same = before is not None and before.provenance.started == record.provenance.started
        if same and record.status == "ok" and planned.action != "done":
            # Of other images or weights, or to be made again.
            return None
        reason = None if record.status == "ok" else record.reason or record.status
        return Result(started=record.provenance.started, reason=reason)


def _write_unmeasured(planned: Planned, status: Status, reason: str) -> None:
    """Write the record of a cell that could not write one itself."""
    from harness.records.cell import CELLS, Record, used_settings
    from harness.records.parts import Provenance

    job, now = planned.job, datetime.now(UTC).isoformat(timespec="seconds")
    record = Record(
        cell=job.cell,
        label=planned.spec.title(job.settings),
        status=status,
        reason=reason,
        settings=used_settings(job),
        provenance=Provenance(started=now, command=job.command),
    )
    CELLS.write(job.results_dir, record)


def _find_record(job: Job) -> Record | None:
    """Return the record of a job's cell; one that is broken is named and left out."""
    from harness.plan.cells import find_job_record

    try:
        return find_job_record(job)
    except RequestError as error:
        print(f"error: {error}", file=sys.stderr)
        return None
