"""A job of a Slurm cluster: plans one part of a request again where it runs, and runs it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import CellError, RequestError
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
        try:
            return _carry_out(order)
        except RequestError as error:
            print(f"refused: {error}", file=sys.stderr)
            write_text(Ledger(order.request.results_dir).refusal_path(order.key), str(error))
            return error.exit_code
        except CellError as error:
            print(error, file=sys.stderr)
            return error.exit_code
        except KeyboardInterrupt:
            print("stopped: the cluster has ended this job", file=sys.stderr)
            sys.exit(130)

    def checkpoint(self) -> DelayedSubmission:
        """Stop the worker at a checkpoint, and return what is to be queued again."""
        from submitit.helpers import DelayedSubmission

        stop_children()
        return DelayedSubmission(Task(self.order))


def _carry_out(order: Order) -> int:
    order.version.require_here()
    measurement = MEASUREMENTS[order.request.measure]
    restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    failure = None
    if restarts > order.max_requeues:
        failure = (
            f"the cluster ended it {restarts} times (time limit, preemption or failed nodes): "
            "raise time or max_requeues in the settings of the cluster"
        )
    place = Place(
        progress=Ledger(order.request.results_dir).progress_path(order.key), failure=failure
    )
    code = 0
    with children_at(place):
        for planned in measurement.plan(order.request):
            for _ in range(order.tries):
                code = measurement.run(planned, order.request)
                if code != 1:
                    break
    if code == 2:
        raise RequestError("its worker says why in the log")
    return code
