"""Search for each model's recipe, with the same number of trials and images for all (`--tune`)."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from harness.jobs import Part, Request, Result
from harness.launch.local import run_in_child
from harness.launch.parts import part_of
from harness.measurements.contract import Measurement, Outcome
from harness.tuning.space import TuneJob

if TYPE_CHECKING:
    from harness.records.tuning import TuningRecord


class Tuning(Measurement[TuneJob, TuneJob]):
    """One study for each data set and model; `--recipe tuned` trains by its winner."""

    name = "tune"
    help_text = "tune: the recipe of each model, searched with --tune"
    job_type = TuneJob
    own_options: ClassVar = {
        "tune": "--tune goes without --measure {measure}",
        "tune_budget": "--tune-budget goes with --tune",
        "tune_space": "--tune-space goes with --tune",
        "tune_workers": "--tune-workers goes with --tune",
    }
    after_interruption = "goes on in the trial that it had reached"

    def plan(self, request: Request) -> Sequence[TuneJob]:
        """Return a study for each data set and model."""
        from harness.plan.tuning import plan_tuning

        return plan_tuning(request)

    def describe(self, planned: Sequence[TuneJob]) -> None:
        """Print the budget of each study, and whether it is done."""
        for job in planned:
            print(f"{job}: {'done' if self.is_settled(job) else job.summary}")

    def run(self, planned: TuneJob, request: Request) -> int:
        """Run the trials that are missing in a child process."""
        if self.is_settled(planned) and not request.force:
            print(f"{planned}: done: an equal search exists", file=sys.stderr)
            return 0
        print(f"{planned}: {planned.summary}", file=sys.stderr)
        return run_in_child(self.name, planned, request)

    def work(self, job: TuneJob) -> int:
        """Search, and write the record."""
        from harness.measure.conditions import fp32_precision
        from harness.records.tuning import TUNINGS
        from harness.run.tuning import tune

        with fp32_precision(job.job.settings.measurement.fp32_precision):
            TUNINGS.write(job.job.results_dir, tune(job))
        return 0

    def show(self, outcome: Outcome[TuneJob]) -> None:
        """Print the winners."""
        from harness.report.tuning import print_tuning

        # Those that share a search have one record.
        jobs = {job.job.cell: job for job in outcome.ran}.values()
        print_tuning([record for job in jobs if (record := _find(job))])

    def is_settled(self, planned: TuneJob) -> bool:
        """Return whether there is a record of this search."""
        return _find(planned) is not None

    def split_off(self, planned: TuneJob, request: Request) -> Part:
        """Return the request for one study."""
        cell = planned.job.cell
        if planned.workers > 1:
            request = dataclasses.replace(request, tune_worker=planned.worker)
        return part_of(request, str(planned), cell.dataset, [cell.model])

    def find_result(self, planned: TuneJob) -> Result | None:
        """Return what the record of a search says, if there is one."""
        record = _find(planned)
        return Result(started=record.provenance.started, reason=None) if record else None


def _find(planned: TuneJob) -> TuningRecord | None:
    """Return the record of a search, if it is by the same budget, settings and images."""
    from harness.records.tuning import TUNINGS, tuning_place
    from harness.settings import settings_hash

    job = planned.job
    record = TUNINGS.find(job.results_dir, tuning_place(job.cell))
    wanted = (planned.budget, settings_hash(job.settings), planned.data_sha256)
    if record and (record.budget, record.settings_hash, record.data_sha256) == wanted:
        return record
    return None
