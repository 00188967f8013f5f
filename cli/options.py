"""The options of `comparisons.py`, and of the commands that choose a cell as it does.

Numbers are texts here: the settings check them, and explain what is wrong in one line.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from harness.errors import RequestError
from harness.jobs import Request
from harness.measurements import MEASUREMENTS
from harness.registry import ROOT

_NAMES = "Names, repeated or a,b,c, or 'all'."
*_FIRST, _LAST = (each.help_text for each in MEASUREMENTS.values())

Datasets = Annotated[list[str] | None, Option("--dataset", help=_NAMES)]
Models = Annotated[list[str] | None, Option("--model", help=_NAMES)]
OneDataset = Annotated[str | None, Option(help="A data set's name.")]
Device = Annotated[
    str, Option(help="auto, cpu, cuda, one GPU as cuda:1, or several: cuda:0,cuda:1 or cuda:all.")
]
Weights = Annotated[
    str | None,
    Option(
        help="auto (load this data set's weights where they fit the settings, else train), "
        "train, imagenet, published or random."
    ),
]
Epochs = Annotated[str | None, Option(metavar="NUMBER", help="Training epochs.")]
Seed = Annotated[str | None, Option(metavar="NUMBER", help="Seed of every random choice.")]
Seeds = Annotated[
    str | None, Option(metavar="NUMBERS", help="Runs each cell with each of them: 1,2,3.")
]
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
    str,
    Option(
        metavar="NAME",
        help="Settings from configs/<model>.<name>.yaml: published, or of some models alone, "
        "trunk=efficient,vgg=published.",
    ),
]
ResultsDir = Annotated[Path, Option(help="Folder of results.", show_default="results/own")]
Measure = Annotated[str, Option(help=f"{'; '.join(_FIRST)}; or {_LAST}.")]
Runtimes = Annotated[
    list[str] | None,
    Option(
        "--runtime",
        help="With --measure latency: eager, compile, onnxruntime, openvino; repeated or a,b.",
    ),
]
Reference = Annotated[
    str, Option(help="With --measure latency: the model that the others are compared with.")
]
Assignments = Annotated[
    list[str] | None, Option("--set", metavar="KEY=VALUE", help="Any setting; repeatable.")
]
Trackers = Annotated[
    list[str] | None,
    Option(
        "--tracker",
        help="tensorboard (by default), mlflow, wandb, ml-dash, ... or none; repeated or a,b.",
    ),
]
RunsDir = Annotated[Path, Option(help="Folder of what is tracked here.", show_default="runs")]
Tune = Annotated[
    int,
    Option(
        min=0, metavar="NUMBER", help="Trials of a search for each model's recipe: docs/tuning.md."
    ),
]
TuneBudget = Annotated[
    str, Option(metavar="NxEPOCHS", help="With --tune: images and epochs of a trial, as 4000x3.")
]
TuneSpace = Annotated[
    Path | None,
    Option(help="With --tune: where to search.", show_default="configs/tuning/default.yaml"),
]
TuneWorkers = Annotated[
    int | None,
    Option(min=1, max=1000, metavar="NUMBER", help="With --tune: processes that share a search."),
]
Fair = Annotated[
    str,
    Option(metavar="WHAT", help="Refuse unequal settings, or budget of tuning: docs/tracking.md."),
]
Offline = Annotated[bool, Option("--offline", help="Never use the network.")]
Force = Annotated[bool, Option("--force", help="Run cells again that are done.")]
Plan = Annotated[bool, Option("--plan", help="Say what would run, and stop.")]
Launcher = Annotated[
    str, Option(help="local (here), or slurm (jobs of a cluster: docs/clusters.md).")
]
LauncherConfig = Annotated[
    Path | None,
    Option(help="What jobs ask the cluster for.", show_default="configs/launch/slurm.yaml"),
]
Detach = Annotated[bool, Option("--detach", help="Submit to the cluster, and do not follow.")]
Status = Annotated[bool, Option("--status", help="Say what became of each cell, and stop.")]
Cancel = Annotated[bool, Option("--cancel", help="End the jobs of this request, and stop.")]
Retry = Annotated[
    int,
    Option(min=0, metavar="NUMBER", help="Run cells that failed, and no others, up to so often."),
]
List = Annotated[bool, Option("--list", help="List models and data sets, and stop.")]
Verbose = Annotated[bool, Option("--verbose", "-v", help="Log every step and epoch.")]

_SETTINGS = {
    "weights": "weights",
    "epochs": "training.epochs",
    "seed": "seed",
    "threads": "threads",
}
_LISTS = {"dataset": "datasets", "model": "models"}
_DEFAULTS: dict[str, Any] = {"datasets": [], "models": [], "results_dir": ROOT / "results" / "own"}


def make_request(options: Mapping[str, Any]) -> Request:
    """Return what the options of a command ask for.

    Args:
        options: The command's parameters by name; None and () stand for an option that was not
            given. A command that takes one data set or model calls it `dataset` or `model`. What is
            neither a field of `Request` nor a setting is no part of the request.
    """
    given = {name: value for name, value in options.items() if value not in (None, ())}
    given |= {several: [given[one]] for one, several in _LISTS.items() if one in given}
    overrides = {key: given[name] for name, key in _SETTINGS.items() if name in given}
    if given.get("tune") and given.get("measure") == "all":
        given["measure"] = "tune"
    names = [field.name for field in dataclasses.fields(Request) if field.name in given]
    return Request(**_DEFAULTS | {name: given[name] for name in names}, overrides=overrides)


def read_command(command: str) -> Request:
    """Return the request of a record's command; a RequestError if this version does not take it."""
    from comparisons import main

    words = shlex.split(command)
    if words[:2] != ["python", "comparisons.py"]:
        raise RequestError(f"the command is no run of comparisons.py: '{command}'")
    app = typer.Typer(add_completion=False)
    app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})(main)
    try:
        context = typer.main.get_command(app).make_context(words[1], words[2:])
    except typer.TyperException as error:
        raise RequestError(f"the command cannot be read: {error}") from None
    if context.args:
        raise RequestError(f"the command has {' '.join(context.args)}, which is unknown here")
    return make_request(context.params)
