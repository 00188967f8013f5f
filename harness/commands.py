"""What `comparisons.py` does once its options are read: list, plan or run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.table import Table

from harness.errors import CellError, RequestError, unknown_name
from harness.jobs import CostJob, LatencyJob, Request
from harness.registry import dataset_files, describe, model_files

if TYPE_CHECKING:
    from harness.plan.cells import Planned

Action = Callable[[Request], int]
T = TypeVar("T")


def guarded(action: Action, request: Request) -> int:
    """Carry out an action and return its exit code; what goes wrong is one line."""
    try:
        return action(request)
    except RequestError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except CellError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        trains = request.measure == "all"
        again = "goes on from the last checkpoint" if trains else "begins anew"
        print(f"interrupted: the same command {again}", file=sys.stderr)
        return 130


def list_all(_: Request) -> int:
    """Print every model and data set with a line on each."""
    console = Console()
    for title, files in (("Models", model_files()), ("Data sets", dataset_files())):
        table = Table("name", "what it is", title=title, title_justify="left", box=None)
        for name, path in files.items():
            table.add_row(name, describe(path))
        console.print(table)
    return 0


def plan(request: Request) -> int:
    """Print what running the request would do.

    Raises:
        RequestError: As `measure`.
    """
    return _choose(request, {"all": _plan_cells, "latency": _plan_latency, "cost": _plan_costs})


def measure(request: Request) -> int:
    """Do what a request wants to have measured.

    Raises:
        RequestError: It wants something unknown, or options that do not go together.
    """
    return _choose(request, {"all": run, "latency": compare_latency, "cost": count_costs})


def _choose(request: Request, actions: dict[str, Action]) -> int:
    if request.measure not in actions:
        raise unknown_name("--measure", request.measure, actions)
    if request.measure != "latency" and (request.runtimes or request.reference):
        option = "--runtime" if request.runtimes else "--reference"
        raise RequestError(f"{option} goes with --measure latency")
    if request.measure != "all" and (request.trackers or request.fair):
        option = "--tracker" if request.trackers else "--fair"
        raise RequestError(f"{option} goes with --measure all: comparing latencies trains nothing")
    if request.measure != "all" and request.seeds:
        raise RequestError(
            f"--seeds goes with training: leave it out with --measure {request.measure}"
        )
    return actions[request.measure](request)


def _plan_cells(request: Request) -> int:
    """Print what would be done cell by cell, and roughly how long it takes."""
    from harness.plan.cells import plan_request
    from harness.plan.duration import describe_seconds, rough_seconds

    table = Table("cell", "action", "what", "rough cost")
    for planned in _plan(request, plan_request):
        seconds = rough_seconds(planned)
        table.add_row(str(planned.job), planned.action, planned.detail, describe_seconds(seconds))
    Console().print(table)
    return 0


def _plan_latency(request: Request) -> int:
    """Print what would be compared."""
    from harness.plan.latency import plan_latency

    for job in _plan(request, plan_latency):
        models = ", ".join(each.cell.model for each in job.jobs)
        print(f"{job}: {_describe_comparison(job)}: {models}; reference {job.reference}")
    return 0


def _describe_comparison(job: LatencyJob) -> str:
    runtimes, count = ", ".join(job.runtimes), job.processes
    return f"{len(job.jobs)} models in {runtimes}; {count} process{'es' if count > 1 else ''}"


def _plan_costs(request: Request) -> int:
    """Print what would be counted."""
    from harness.plan.counts import plan_costs

    for job in _plan(request, plan_costs):
        print(f"{job}: {', '.join(each.cell.model for each in job.jobs)}; a few seconds each")
    return 0


def run(request: Request) -> int:
    """Run the cells that are not done, refresh the results, and print their table."""
    from harness.plan.cells import find_job_record, plan_request
    from harness.report.site import refresh
    from harness.report.tables import print_records

    planned = _plan(request, plan_request)
    results = request.results_dir.absolute()
    _check_results(results)
    codes = [_run_cell(item, request.verbose) for item in planned]
    refresh(results)
    # A refused cell left no record: what may lie there is of an earlier run.
    ran = [item.job for item, code in zip(planned, codes, strict=True) if code != 2]
    records = [find_job_record(job) for job in ran]
    print_records([record for record in records if record is not None])
    return _exit_code(codes)


def compare_latency(request: Request) -> int:
    """Time all models of each data set side by side, and print them."""
    from harness.launch.comparison import compare_in_children
    from harness.plan.latency import plan_latency
    from harness.records.latency import LATENCIES
    from harness.report.latency import print_latency

    def compare(job: LatencyJob) -> int:
        print(f"{job}: {_describe_comparison(job)}", file=sys.stderr)
        return compare_in_children(job, verbose=request.verbose)

    codes, began = _carry_out(request, plan_latency, compare)
    # One that was refused or broke left nothing: what lies there is of an earlier run.
    records = LATENCIES.read_all(request.results_dir.absolute())
    print_latency([each for each in records if each.provenance.started >= began])
    return _exit_code(codes)


def count_costs(request: Request) -> int:
    """Count what the models cost at the shape of each data set, and print it."""
    from harness.launch.local import run_in_child
    from harness.plan.counts import plan_costs
    from harness.records.cost import COSTS
    from harness.report.costs import print_costs

    def count(job: CostJob) -> int:
        print(f"{job}: {len(job.jobs)} models", file=sys.stderr)
        return run_in_child(job, verbose=request.verbose)

    codes, began = _carry_out(request, plan_costs, count)
    records = COSTS.read_all(request.results_dir.absolute())
    print_costs([each for each in records if each.provenance.started >= began])
    return _exit_code(codes)


def _carry_out(
    request: Request, plan: Callable[[Request], list[T]], run_one: Callable[[T], int]
) -> tuple[list[int], str]:
    """Run the jobs that a request comes to and make the tables; return exit codes and the start."""
    from harness.report.site import refresh

    jobs = _plan(request, plan)
    results = request.results_dir.absolute()
    _check_results(results)
    began, codes = datetime.now(UTC).isoformat(timespec="seconds"), []
    for job in jobs:
        codes.append(run_one(job))
        if codes[-1] == 130:
            raise KeyboardInterrupt
    refresh(results)
    return codes, began


def _exit_code(codes: list[int]) -> int:
    """Return 2 where every part of a request was refused, 1 where any went wrong."""
    return 2 if codes and all(code == 2 for code in codes) else int(any(codes))


def _check_results(results: Path) -> None:
    """Make sure of the results folder: what is broken had better be known before hours of work."""
    from harness.records.cell import CELLS, check_writable
    from harness.records.cost import COSTS
    from harness.records.latency import LATENCIES

    check_writable(results)
    CELLS.read_all(results)
    LATENCIES.read_all(results)
    COSTS.read_all(results)


def _plan(request: Request, make: Callable[[Request], list[T]]) -> list[T]:
    if not request.models:
        raise RequestError("--model is missing: name one or more, or all (--list shows them)")
    if not request.datasets and request.data_file is None:
        raise RequestError("--dataset is missing: name one or more, or all (--list shows them)")
    return make(request)


def _run_cell(planned: Planned, verbose: bool) -> int:
    from harness.launch.local import note_unsupported, run_in_child

    print(f"{planned.job}: {planned.action}: {planned.detail}", file=sys.stderr)
    if planned.action == "done":
        return 0
    if planned.action == "unsupported":
        note_unsupported(planned.job, planned.spec.label, planned.detail)
        return 1
    code = run_in_child(planned.job, verbose=verbose)
    if code == 130:
        raise KeyboardInterrupt
    return code
