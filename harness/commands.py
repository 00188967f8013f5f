"""The actions of `comparisons.py` after its options are read: list, plan or run."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from harness.errors import CellError, RequestError, print_error, unknown_name
from harness.jobs import Request
from harness.measurements import MEASUREMENTS
from harness.measurements.contract import Measurement, Outcome, PlannedT
from harness.registry import dataset_files, describe, model_files
from harness.util.locks import shared_lock

if TYPE_CHECKING:
    from harness.launch.following import State

_LAUNCHERS = ("local", "slurm")
_FOLLOW_SECONDS = 5.0
_DETACHED = (
    "the jobs go on without this command: the same command follows them, with --status it says "
    "what became of them, with --cancel it ends them"
)


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


def carry_out(
    request: Request,
    *,
    plan: bool = False,
    status: bool = False,
    cancel: bool = False,
    detach: bool = False,
) -> int:
    """Plan a request and run it, or do what the one flag says; an error is one line.

    Returns:
        0: all went well; 1: something failed; 2: all of the request was refused; 3: by `status`,
        something is not done yet; 130: interrupted.
    """
    flags = {"plan": plan, "status": status, "cancel": cancel, "detach": detach}
    try:
        action = _choose_action(request, [name for name, given in flags.items() if given])
        measurement = _choose_measurement(request)
        if request.launcher == "slurm":
            return _carry_out_on_cluster(measurement, request, action)
        return _carry_out_here(measurement, request, action)
    except (CellError, RequestError, OSError) as error:
        return print_error(error)
    except KeyboardInterrupt:
        again = MEASUREMENTS[request.measure].after_interruption
        print(f"interrupted: the same command {again}", file=sys.stderr)
        return 130


def _choose_action(request: Request, flags: Sequence[str]) -> str:
    """Return the flag that is given, empty if none is; refuse what does not go together."""
    if len(flags) > 1:
        raise RequestError(f"--{flags[0]} and --{flags[1]} do not go together")
    if request.launcher not in _LAUNCHERS:
        raise unknown_name("--launcher", request.launcher, _LAUNCHERS)
    if request.launcher == "local":
        if request.launcher_config is not None:
            raise RequestError("--launcher-config goes with --launcher slurm")
        if flags and flags[0] in ("detach", "cancel"):
            raise RequestError(f"--{flags[0]} goes with --launcher slurm")
    return flags[0] if flags else ""


def _choose_measurement(request: Request) -> Measurement[Any, Any]:
    """Return the measurement of a request; refuse options of others, and a lack of names."""
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


def _carry_out_here(measurement: Measurement[PlannedT, Any], request: Request, action: str) -> int:
    """Run or describe a request on this machine; return the exit code."""
    planned = measurement.plan(request)
    if action == "plan":
        measurement.describe(planned)
        return 0
    if action == "status":
        from harness.grid import Grid

        return _tell(Grid(measurement, planned, request).states())
    return _run(measurement, planned, request)


def _carry_out_on_cluster(
    measurement: Measurement[PlannedT, Any], request: Request, action: str
) -> int:
    """Submit, describe, follow or cancel a request on its cluster; return the exit code."""
    from harness.grid import Grid
    from harness.launch.cluster import load_cluster
    from harness.launch.following import follow, summarize
    from harness.launch.slurm import require_slurm
    from harness.records.cell import check_writable

    cluster = load_cluster(request.launcher_config)
    require_slurm()
    if request.device == "auto":
        request = dataclasses.replace(request, device="cuda" if cluster.gpus else "cpu")
    planned = measurement.plan(request)
    grid = Grid(measurement, planned, request, cluster)
    if action == "plan":
        grid.describe()
        return 0
    if action == "status":
        return _tell(grid.states())
    if action == "cancel":
        print(f"jobs cancelled: {grid.cancel()}", file=sys.stderr)
        return 0
    check_writable(request.results_dir.absolute())
    for item in filter(measurement.is_settled, planned):
        measurement.run(item, request)
    print(f"jobs submitted: {grid.submit()}", file=sys.stderr)
    if action == "detach":
        print(_DETACHED, file=sys.stderr)
        return 0
    try:
        states = follow(partial(grid.states, patient=True), _FOLLOW_SECONDS)
    except KeyboardInterrupt:
        print(_DETACHED, file=sys.stderr)
        return 130
    print(summarize(states), file=sys.stderr)
    results = list(filter(None, map(measurement.find_result, planned)))
    whole = True
    if results:
        # Others may follow the same jobs.
        with shared_lock(grid.ledger.folder / "tables.lock"):
            began = min(each.started for each in results)
            whole = _show(measurement, planned, request, began)
    return int(not whole or any(state.name != "done" for state in states))


def _tell(states: Sequence[State]) -> int:
    """Print what became of each part, and return the exit code."""
    from harness.launch.following import BAD, print_states

    print_states(states)
    if any(state.name in BAD for state in states):
        return 1
    return 0 if all(state.name == "done" for state in states) else 3


def _run(
    measurement: Measurement[PlannedT, Any], planned: Sequence[PlannedT], request: Request
) -> int:
    """Run all that is planned, refresh and show the results; return the exit code."""
    from harness.records.cell import check_writable

    check_writable(request.results_dir.absolute())
    if request.retry:
        results = ((each, measurement.find_result(each)) for each in planned)
        planned = [each for each, result in results if result and result.reason is not None]
        if not planned:
            print("nothing has failed", file=sys.stderr)
            return 0
    began = datetime.now(UTC).isoformat(timespec="seconds")
    codes = _run_all(measurement, planned, request)
    # A refused part wrote no record; an existing record of it is from an earlier run.
    ran = [item for item, code in zip(planned, codes, strict=True) if code != 2]
    if not ran:
        return 2
    whole = _show(measurement, ran, request, began)
    return int(any(codes) or not whole)


def _run_all(
    measurement: Measurement[PlannedT, Any], planned: Sequence[PlannedT], request: Request
) -> list[int]:
    """Run all that is planned, one after the other or side by side, and return the exit codes."""
    several = "," in request.device or request.device == "cuda:all"
    workers = request.tune_workers or 1
    if not several and workers == 1:
        return [measurement.run_up_to(request.retry, item, request) for item in planned]
    from harness.launch.devices import Devices
    from harness.launch.ledger import Ledger
    from harness.plan.jobs import name_gpus, visible_gpus

    parts = [measurement.split_off(item, request) for item in planned]
    if any(part.exclusive for part in parts):
        raise RequestError(
            f"--device {request.device}: a comparison of latencies has one device for itself"
        )

    def work(number: int) -> int:
        return measurement.run_up_to(request.retry, planned[number], request)

    gpus = visible_gpus(name_gpus(request.device)) if several else [None] * workers
    folder = Ledger(request.results_dir.absolute()).folder / "logs"
    return Devices(gpus, parts, work, folder).run()


def _show(
    measurement: Measurement[PlannedT, Any], ran: Sequence[PlannedT], request: Request, began: str
) -> bool:
    """Make all tables anew, show what was run, and return whether all records could be read."""
    from harness.records.material import read_material
    from harness.report.site import refresh

    results = request.results_dir.absolute()
    refresh(results)
    measurement.show(Outcome(results=results, ran=ran, began=began))
    broken = read_material(results).broken
    for line in broken:
        print(f"error: {line}", file=sys.stderr)
    return not broken
