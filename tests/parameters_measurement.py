"""Parameters: how many each model has at the shape of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.jobs import Job, Request
from harness.launch.local import run_in_child
from harness.measurements.contract import Measurement, Outcome


class Parameters(Measurement[Job, Job]):
    """Builds each network in a process of its own, and counts."""

    name = "parameters"
    help_text = "parameters: how many each model has"
    job_type = Job

    def plan(self, request: Request) -> Sequence[Job]:
        from harness.plan.counts import plan_costs

        return [job for each in plan_costs(request) for job in each.jobs]

    def describe(self, planned: Sequence[Job]) -> None:
        for job in planned:
            print(f"{job}: count parameters")

    def run(self, planned: Job, request: Request) -> int:
        return run_in_child(self.name, planned, request)

    def work(self, job: Job) -> int:
        from harness.catalog import load_model
        from harness.measure.operations import count_parameters
        from harness.networks.build import build_network
        from harness.registry import load_dataset
        from harness.util.files import write_text

        dataset = load_dataset(job.cell.dataset)
        network = build_network(
            load_model(job.cell.model), job.settings, len(dataset.classes), dataset.channels
        )
        write_text(_path(job), f"{count_parameters(network)}\n")
        return 0

    def show(self, outcome: Outcome[Job]) -> None:
        for job in filter(lambda job: _path(job).is_file(), outcome.ran):
            print(f"{job.cell.model}: {int(_path(job).read_text()):,} parameters")


def _path(job: Job) -> Path:
    return job.results_dir / "parameters" / job.cell.dataset / f"{job.cell.model}.txt"
