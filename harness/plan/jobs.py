"""Jobs made from the options of a request: names, devices, settings, trackers."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from harness.catalog import load_model
from harness.errors import NotPublishedError, RequestError, printable
from harness.jobs import Cell, Device, Job, Request
from harness.plan.images import own_name
from harness.plan.recipes import choose_recipe
from harness.plan.settings import check_training_device, complete_settings
from harness.records.tuning import find_tuned
from harness.registry import (
    REFERENCE_RESULTS,
    dataset_files,
    expand_names,
    find_dataset,
    model_files,
    split_names,
)
from harness.settings import load_settings, parse_assignment, recipes, with_values
from harness.settings_spec import LARGEST_SEED, Settings
from harness.spec import ModelSpec
from harness.tracking.names import choose_trackers
from harness.util.files import absolute

PlannedT = TypeVar("PlannedT")


def name_datasets(request: Request) -> list[str]:
    """Return the names of the data sets that a request asks for, or refuse them."""
    names = expand_names("data set", request.datasets, dataset_files())
    file = request.data_file
    if file is None:
        return names
    if printable(str(absolute(file))) != str(absolute(file)):
        raise RequestError(f"--data-file {file}: a path of printable UTF-8 wanted; rename it")
    if len(names) > 1:
        raise RequestError(f"--data-file stands in for one data set, not for {', '.join(names)}")
    return names or [own_name(file)]


def choose_models(chosen: list[str], suits: Callable[[str], bool], refusal: str) -> list[str]:
    """Return the names of the models that a request asks for; of `all`, only those that suit.

    A RequestError with `refusal` says which of those that were named do not, or that none does.
    """
    names = expand_names("model", chosen, model_files())
    models = [name for name in names if suits(name)]
    left_out = [name for name in names if name not in models]
    if left_out and not (models and "all" in split_names("model", chosen)):
        raise RequestError(f"--model {','.join(left_out)}: {refusal}")
    return models


def resolve_device(choice: str, *, elsewhere: bool = False) -> Device:
    """Return the device for `--device`; a RequestError if there is none.

    `elsewhere`, on another machine, nothing can be asked. One of several GPUs is all that this
    process and its children see from then on.
    """
    import torch

    kind, several = choice.partition(":")[0], name_gpus(choice)
    if elsewhere:
        if several or kind not in ("cpu", "cuda"):
            raise RequestError(f"--device {choice}: a cluster chooses among its own; cpu or cuda")
        return "cuda" if kind == "cuda" else "cpu"
    # First: asking whether CUDA is available fixes which GPUs this process sees.
    if len(several) == 1 and torch.cuda.device_count():
        os.environ["CUDA_VISIBLE_DEVICES"] = visible_gpus(several)[0]
    if kind == "cuda" and not torch.cuda.is_available():
        raise RequestError(f"--device {choice}: no CUDA device is available here; use cpu or auto")
    if len(several) > 1:
        visible_gpus(several)
    return "cuda" if kind != "cpu" and torch.cuda.is_available() else "cpu"


def name_gpus(choice: str) -> list[int]:
    """Return the numbers of the GPUs that `--device` names; none for auto, cpu and cuda."""
    import torch

    if choice in ("auto", "cpu", "cuda"):
        return []
    if choice == "cuda:all":
        return list(range(torch.cuda.device_count()))
    names = [name.strip() for name in choice.split(",")]
    if not all(re.fullmatch("cuda:[0-9]+", name) for name in names):
        raise RequestError(
            f"unknown device '{choice}': auto, cpu, cuda, cuda:<number>, several as "
            "cuda:0,cuda:1, or cuda:all wanted"
        )
    numbers = [int(name.removeprefix("cuda:")) for name in names]
    if len(set(numbers)) < len(numbers):
        raise RequestError(f"--device {choice}: a GPU is named twice")
    return numbers


def visible_gpus(numbers: Sequence[int]) -> list[str]:
    """Return GPUs as `CUDA_VISIBLE_DEVICES` names them; refuse those that are not there."""
    import torch

    count = torch.cuda.device_count()
    if max(numbers) >= count:
        last = f" to cuda:{count - 1}" if count > 1 else ""
        raise RequestError(f"--device cuda:{max(numbers)}: this machine has cuda:0{last} alone")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else list(map(str, range(count)))
    return [names[number] for number in numbers]


def make_job(request: Request, cell: Cell, seed: int | None = None) -> tuple[Job, ModelSpec]:
    """Return the job of a request's cell, with a seed of `--seeds` if any, and its model."""
    spec = load_model(cell.model)
    overrides = dict(request.overrides) | dict(map(parse_assignment, request.assignments))
    dataset = find_dataset(cell.dataset)
    recipe = choose_recipe(request, cell.model)
    if recipe == "tuned":
        # A compressed model has the recipe of the one that it is made from.
        tuned = load_model(spec.base) if spec.base else spec
        tuned_cell = dataclasses.replace(cell, model=spec.base or cell.model)
        found = find_tuned((request.results_dir, REFERENCE_RESULTS), tuned_cell)
        values = {**found.recipe, **overrides}
        settings = complete_settings(load_settings(cell.dataset, cell.model, values), spec, dataset)
        settings = dataclasses.replace(settings, tuning=found.budget)
        if tuned.first_stage is not None:
            settings = _in_all_stages(settings, found.recipe, overrides)
    else:
        settings = load_settings(cell.dataset, cell.model, overrides, recipe=recipe)
    own_seed = settings.seed
    if seed is not None:
        if "seed" in overrides:
            raise RequestError("--seed and --seeds do not go together: put all into --seeds")
        if settings.weights == "published":
            raise RequestError("--seeds: published weights are the same for every seed")
        settings = dataclasses.replace(settings, seed=seed)
    # The record of another seed lies beside that of the cell.
    repeat = settings.seed != own_seed
    device, trained_on = cell.device, None
    if device not in spec.devices and spec.base:
        # What is compressed for another device is trained where its base is.
        trained_on, cell = device, dataclasses.replace(cell, device=spec.devices[0])
    check_training_device(settings, device)
    command = describe_command(request, cell.dataset, cell.model, device)
    job = Job(
        cell=cell,
        settings=complete_settings(settings, spec, dataset),
        data_dir=request.data_dir.absolute(),
        data_file=absolute(request.data_file) if request.data_file else None,
        weights_dir=request.weights_dir.absolute(),
        published_dir=request.published_dir.absolute() if request.published_dir else None,
        results_dir=request.results_dir.absolute(),
        offline=request.offline,
        command=f"{command} --seeds {seed}" if repeat else command,
        repeat=repeat,
        trained_on=trained_on,
        trackers=name_trackers(request),
        runs_dir=request.runs_dir.absolute() if request.runs_dir else None,
    )
    if request.launcher == "local":
        _check_places(settings.training.processes, device)
    return job, spec


def _in_all_stages(
    settings: Settings, found: Mapping[str, Any], overrides: Mapping[str, Any]
) -> Settings:
    """Return settings whose stages all have what was found for the first, `training`.

    What `overrides` name, a stage or a setting of it, stays.
    """
    values = {
        key: value
        for stage in recipes(settings)
        for name, value in found.items()
        if (key := f"{stage}.{name.removeprefix('training.')}") not in overrides
        and stage not in overrides
    }
    return with_values(settings, values, "tuned recipe")


def _check_places(processes: int, device: Device) -> None:
    """Refuse more training processes than there are GPUs or CPU cores."""
    import torch

    from harness.measure.conditions import default_threads

    kind = "GPU" if device == "cuda" else "CPU core"
    places = torch.cuda.device_count() if device == "cuda" else default_threads()
    if processes > max(1, places):
        raise RequestError(
            f"setting training.processes: each of {processes} processes needs a {kind}, and "
            f"{places} can be used here"
        )


def plan_published(request: Request, plans: Sequence[Callable[[], PlannedT]]) -> list[PlannedT]:
    """Return what each of `plans` returns; what was never published is left out of `all`.

    Each one that is left out is a line on standard error. A NotPublishedError says what was asked
    for by name, or that nothing remains.
    """
    asked = ",".join([*request.models, *request.datasets]).split(",")
    planned: list[PlannedT] = []
    left_out: list[NotPublishedError] = []
    for plan in plans:
        try:
            planned.append(plan())
        except NotPublishedError as error:
            if "all" not in asked:
                raise
            left_out.append(error)
    if left_out and not planned:
        raise left_out[0]
    for reason in left_out:
        print(f"left out: {reason}", file=sys.stderr)
    return planned


def name_trackers(request: Request) -> tuple[str, ...]:
    """Return the names of the trackers of a request."""
    if request.runs_dir is None:
        return ()
    return choose_trackers(request.trackers, offline=request.offline)


def describe_command(request: Request, dataset: str, models: str, device: Device) -> str:
    """Return the command that repeats this part of a request; paths are reduced to names.

    `models` is the name of one model, or of several as `a,b`.
    """
    # A data set of the user's own is named by its file alone.
    named = [f"--dataset {dataset}"] if dataset in dataset_files() else []
    parts = ["python comparisons.py", *named, f"--model {models}", f"--device {device}"]
    parts += [f"--{key.rpartition('.')[2]} {value}" for key, value in request.overrides.items()]
    parts += [f"--set {shlex.quote(text)}" for text in request.assignments]
    if recipe := request.recipe if "," in models else choose_recipe(request, models):
        parts.append(f"--recipe {recipe}")
    if request.tune:
        parts.append(f"--tune {request.tune}")
    if request.tune_budget:
        parts.append(f"--tune-budget {request.tune_budget}")
    if request.tune_space:
        parts.append(f"--tune-space {shlex.quote(request.tune_space.name)}")
    if request.published_dir:
        parts.append(f"--published-dir {shlex.quote(request.published_dir.name)}")
    if request.data_file:
        parts.append(f"--data-file {shlex.quote(absolute(request.data_file).name)}")
    return " ".join(parts)


def name_seeds(text: str | None) -> list[int] | list[None]:
    """Return the different seeds of a comma list, from 0 to `LARGEST_SEED`; [None] without one."""
    if text is None:
        return [None]
    parts = split_names("seed", [text])
    for part in parts:
        if not (part.isascii() and part.isdigit()):
            raise RequestError(f"--seeds {text}: whole numbers wanted, found '{part}'")
        if len(part) > len(str(LARGEST_SEED)) or int(part) > LARGEST_SEED:
            raise RequestError(f"--seeds {text}: the largest seed is {LARGEST_SEED}")
    return list(dict.fromkeys(map(int, parts)))
