"""Measurement of counted costs: operations and bytes of models, without images."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from harness.jobs import CostJob, Request
from harness.launch.local import run_in_child
from harness.measurements.contract import Measurement, Outcome
from harness.util.error_text import explain


class CountedCosts(Measurement[CostJob, CostJob]):
    """The costs of models at the shape of each data set, with one job for each data set."""

    name = "cost"
    help_text = "cost: operations and bytes, counted in seconds without images"
    job_type = CostJob

    def plan(self, request: Request) -> Sequence[CostJob]:
        """Return a job for each data set."""
        from harness.plan.counts import plan_costs

        return plan_costs(request)

    def describe(self, planned: Sequence[CostJob]) -> None:
        """Print which models would be counted."""
        for job in planned:
            print(f"{job}: {', '.join(each.cell.model for each in job.jobs)}; a few seconds each")

    def run(self, planned: CostJob, request: Request) -> int:
        """Count in a child process, whose end frees the memory of all networks."""
        print(f"{planned}: {len(planned.jobs)} models", file=sys.stderr)
        return run_in_child(self.name, planned, request)

    def work(self, job: CostJob) -> int:
        """Count each model; go on with the others after a failure."""
        from harness.records.cost import COSTS
        from harness.run.count import count_costs

        code = 0
        for each in job.jobs:
            try:
                COSTS.write(each.results_dir, count_costs(each))
            except Exception as error:  # anything may go wrong in a model
                print(f"{each.cell.dataset}/{each.cell.model}: {explain(error)}", file=sys.stderr)
                code = 1
        return code

    def show(self, outcome: Outcome[CostJob]) -> None:
        """Print the costs that were counted now."""
        from harness.records.cost import COSTS
        from harness.report.costs import print_costs

        records = COSTS.read_good(outcome.results)[0]
        print_costs([each for each in records if each.provenance.started >= outcome.began])
