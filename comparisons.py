"""Compare TRUNK with monolithic image classifiers: train or load, measure, record, tabulate."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from harness.jobs import Request

ROOT = Path(__file__).resolve().parent

Names = Annotated[list[str] | None, Option(help="Names, repeated or a,b,c, or 'all'.")]
Device = Annotated[str, Option(help="auto, cpu or cuda.")]
Weights = Annotated[
    str | None,
    Option(
        help="auto (load this data set's weights where they fit the settings, else train), "
        "train, imagenet, published or random."
    ),
]
# Numbers are texts here: the settings check them, and explain what is wrong in one line.
Epochs = Annotated[str | None, Option(metavar="NUMBER", help="Training epochs.")]
Seed = Annotated[str | None, Option(metavar="NUMBER", help="Seed of every random choice.")]
Seeds = Annotated[str, Option(metavar="NUMBERS", help="Runs each cell with each of them: 1,2,3.")]
Threads = Annotated[str | None, Option(metavar="NUMBER", help="CPU threads; all cores by default.")]
DataDir = Annotated[Path, Option(help="Folder of the official images.", show_default="data")]
DataFile = Annotated[
    Path | None,
    Option(help="Images to use instead: an .npz file, or a folder with train/<class>/*.png."),
]
WeightsDir = Annotated[Path, Option(help="Folder of weights.", show_default="weights")]
PublishedDir = Annotated[
    Path | None, Option(help="Folder that has the published weights already: see docs/trunk.md.")
]
Recipe = Annotated[
    str, Option(help="Settings from configs/<model>.<recipe>.yaml, e.g. published for trunk.")
]
ResultsDir = Annotated[Path, Option(help="Folder of results.", show_default="results")]
Measure = Annotated[
    str,
    Option(
        help="all; latency: all models side by side, nothing trained; or cost: operations and "
        "bytes, counted in seconds without images."
    ),
]
Runtime = Annotated[
    list[str] | None,
    Option(help="With --measure latency: eager, compile, onnxruntime, openvino; repeated or a,b."),
]
Reference = Annotated[
    str, Option(help="With --measure latency: the model that the others are compared with.")
]
Assignments = Annotated[
    list[str] | None, Option("--set", metavar="KEY=VALUE", help="Any setting; repeatable.")
]
Tracker = Annotated[
    list[str] | None,
    Option(help="tensorboard (by default), mlflow, wandb, ml-dash, ... or none; repeated or a,b."),
]
RunsDir = Annotated[Path, Option(help="Folder of what is tracked here.", show_default="runs")]
Fair = Annotated[
    bool, Option("--fair", help="Refuse models whose settings differ: see docs/tracking.md.")
]
Offline = Annotated[bool, Option("--offline", help="Never use the network.")]
Force = Annotated[bool, Option("--force", help="Run cells again that are done.")]
Plan = Annotated[bool, Option("--plan", help="Say what would run, and stop.")]
List = Annotated[bool, Option("--list", help="List models and data sets, and stop.")]
Verbose = Annotated[bool, Option("--verbose", "-v", help="Log every step and epoch.")]


def main(
    dataset: Names = None,
    model: Names = None,
    device: Device = "auto",
    weights: Weights = None,
    epochs: Epochs = None,
    seed: Seed = None,
    seeds: Seeds = "",
    threads: Threads = None,
    data_dir: DataDir = ROOT / "data",
    data_file: DataFile = None,
    weights_dir: WeightsDir = ROOT / "weights",
    published_dir: PublishedDir = None,
    recipe: Recipe = "",
    results_dir: ResultsDir = ROOT / "results",
    assignments: Assignments = None,
    measure: Measure = "all",
    runtime: Runtime = None,
    reference: Reference = "",
    tracker: Tracker = None,
    runs_dir: RunsDir = ROOT / "runs",
    fair: Fair = False,
    offline: Offline = False,
    force: Force = False,
    plan: Plan = False,
    list_all: List = False,
    verbose: Verbose = False,
) -> None:
    """Train or load, measure, record and tabulate cells: data set × model × device."""
    from harness import commands

    flags = {"weights": weights, "training.epochs": epochs, "seed": seed, "threads": threads}
    request = Request(
        datasets=dataset or [],
        models=model or [],
        device=device,
        overrides={key: value for key, value in flags.items() if value is not None},
        assignments=assignments or [],
        data_dir=data_dir,
        data_file=data_file,
        weights_dir=weights_dir,
        published_dir=published_dir,
        recipe=recipe,
        results_dir=results_dir,
        offline=offline,
        force=force,
        verbose=verbose,
        measure=measure,
        runtimes=runtime or [],
        reference=reference,
        trackers=tracker or [],
        runs_dir=runs_dir,
        fair=fair,
        seeds=seeds,
    )
    action = commands.list_all if list_all else commands.plan if plan else commands.measure
    sys.exit(commands.guarded(action, request))


if __name__ == "__main__":
    typer.run(main)
