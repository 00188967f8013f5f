"""The actions of `comparisons.py` after its options are read: list, plan or run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from harness.errors import CellError, RequestError, describe_os_error, unknown_name
from harness.jobs import Request
from harness.measurements import MEASUREMENTS
from harness.measurements.contract import Measurement, Outcome, PlannedT
from harness.registry import dataset_files, describe, model_files


def list_all() -> None:
    """Print every model and data set with a one-line description."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for title, files in (("Models", model_files()), ("Data sets", dataset_files())):
        table = Table("name", "what it is", title=title, title_justify="left", box=None)
        for name, path in files.items():
            table.add_row(name, describe(path))
        console.print(table)


def carry_out(request: Request, *, plan: bool = False) -> int:
    """Plan a request, then print the plan or run it; an error is one line on standard error.

    Returns:
        0: all went well; 1: something failed; 2: all of the request was refused; 130: interrupted.
    """
    try:
        measurement = _choose_measurement(request)
        planned = measurement.plan(request)
        if plan:
            measurement.describe(planned)
            return 0
        return _run(measurement, planned, request)
    except (CellError, RequestError) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"error: {describe_os_error(error)}", file=sys.stderr)
        return RequestError.exit_code
    except KeyboardInterrupt:
        again = MEASUREMENTS[request.measure].after_interruption
        print(f"interrupted: the same command {again}", file=sys.stderr)
        return 130


def _choose_measurement(request: Request) -> Measurement[Any, Any]:
    """Return the measurement of a request.

    Raises:
        RequestError: The measurement is unknown, an option belongs to another measurement, or no
            model or no data set is named.
    """
    if request.measure not in MEASUREMENTS:
        raise unknown_name("--measure", request.measure, MEASUREMENTS)
    for other in MEASUREMENTS.values():
        for field, refusal in other.own_options.items():
            given = getattr(request, field) not in (None, "", [], False)
            if other.name != request.measure and given:
                raise RequestError(refusal.format(measure=request.measure))
    if not request.models:
        raise RequestError("--model is missing: name one or more, or all (--list shows them)")
    if not request.datasets and request.data_file is None:
        raise RequestError("--dataset is missing: name one or more, or all (--list shows them)")
    return MEASUREMENTS[request.measure]


def _run(
    measurement: Measurement[PlannedT, Any], planned: Sequence[PlannedT], request: Request
) -> int:
    """Run all that is planned, refresh and show the results; return the exit code."""
    from harness.records.cell import check_writable
    from harness.records.material import read_material
    from harness.report.site import refresh

    results = request.results_dir.absolute()
    # Fail early on unwritable results.
    check_writable(results)
    began = datetime.now(UTC).isoformat(timespec="seconds")
    codes = [_run_one(measurement, item, request) for item in planned]
    # A refused part wrote no record; an existing record of it is from an earlier run.
    ran = [item for item, code in zip(planned, codes, strict=True) if code != 2]
    if not ran:
        return 2
    refresh(results)
    measurement.show(Outcome(results=results, ran=ran, began=began))
    broken = read_material(results).broken
    for line in broken:
        print(f"error: {line}", file=sys.stderr)
    return int(any(codes) or bool(broken))


def _run_one(measurement: Measurement[PlannedT, Any], item: PlannedT, request: Request) -> int:
    try:
        return measurement.run(item, request)
    except CellError as error:
        print(f"{item}: {error}", file=sys.stderr)
        return error.exit_code
