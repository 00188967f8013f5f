"""Compare TRUNK with monolithic image classifiers: train or load, measure, record, tabulate."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from cli import options

ROOT = Path(__file__).resolve().parent


def main(
    datasets: options.Datasets = None,
    models: options.Models = None,
    device: options.Device = "auto",
    weights: options.Weights = None,
    epochs: options.Epochs = None,
    seed: options.Seed = None,
    seeds: options.Seeds = None,
    threads: options.Threads = None,
    data_dir: options.DataDir = ROOT / "data",
    data_file: options.DataFile = None,
    weights_dir: options.WeightsDir = ROOT / "weights",
    published_dir: options.PublishedDir = None,
    recipe: options.Recipe = "",
    results_dir: options.ResultsDir = ROOT / "results" / "own",
    assignments: options.Assignments = None,
    measure: options.Measure = "all",
    runtimes: options.Runtimes = None,
    reference: options.Reference = "",
    trackers: options.Trackers = None,
    runs_dir: options.RunsDir = ROOT / "runs",
    tune: options.Tune = 0,
    tune_budget: options.TuneBudget = "",
    tune_space: options.TuneSpace = None,
    tune_workers: options.TuneWorkers = None,
    fair: options.Fair = "",
    offline: options.Offline = False,
    force: options.Force = False,
    launcher: options.Launcher = "local",
    launcher_config: options.LauncherConfig = None,
    detach: options.Detach = False,
    status: options.Status = False,
    cancel: options.Cancel = False,
    retry: options.Retry = 0,
    plan: options.Plan = False,
    list_all: options.List = False,
    verbose: options.Verbose = False,
) -> None:
    """Train or load, measure, record and tabulate cells: data set × model × device."""
    request = options.make_request(locals())
    from harness import commands

    if list_all:
        commands.list_all()
    else:
        code = commands.carry_out(request, plan=plan, status=status, cancel=cancel, detach=detach)
        sys.exit(code)


if __name__ == "__main__":
    typer.run(main)
