"""A job of a Slurm cluster: plans one part of a request again where it runs, and runs it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import RequestError
from harness.launch.ledger import Ledger, Order, read_order
from harness.launch.local import Place, children_at, stop_children
from harness.measurements import MEASUREMENTS
from harness.util.files import write_text

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission


class Task:
    """What submitit keeps of a job: the name of this class, and the file of an order.

    No code is pickled, so that a job runs what is in the project's folder then, or is refused.
    """

    def __init__(self, order: Path) -> None:
        self.order = order

    def __call__(self) -> int:
        """Carry out the order, and return the exit code of the part."""
        order = read_order(self.order)
        part, ledger = order.part, Ledger(order.part.request.results_dir)
        try:
            return _carry_out(order, ledger.progress_path(part.key))
        except RequestError as error:
            print(f"refused: {error}", file=sys.stderr)
            write_text(ledger.refusal_path(part.key), str(error))
            return error.exit_code
        except KeyboardInterrupt:
            print("stopped: the cluster has ended this job", file=sys.stderr)
            sys.exit(130)

    def checkpoint(self) -> DelayedSubmission:
        """Stop the worker at a checkpoint, and return what is to be queued again."""
        from submitit.helpers import DelayedSubmission

        stop_children()
        return DelayedSubmission(Task(self.order))


def _carry_out(order: Order, progress: Path) -> int:
    order.version.require_here()
    request, code, failure = order.part.request, 0, None
    restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    if restarts > order.max_requeues:
        failure = (
            f"the cluster ended it {restarts} times (time limit, preemption or failed nodes): "
            "raise time or max_requeues in the settings of the cluster"
        )
    measurement = MEASUREMENTS[request.measure]
    with children_at(Place(progress=progress, failure=failure)):
        for planned in measurement.plan(request):
            code = measurement.run_up_to(order.tries, planned, request)
    if code == 2:
        raise RequestError("its worker says why in the log")
    return code
