"""Plan of a search for recipes (`--tune`): one study for each data set and model."""

from __future__ import annotations

import sys
from collections.abc import Hashable
from dataclasses import replace
from importlib.util import find_spec

from harness.data.loading import ImageData, images_key, load_job_data
from harness.errors import RequestError
from harness.jobs import Cell, Job, Request
from harness.networks.build import check_fit
from harness.plan.images import accept_images
from harness.plan.jobs import make_job, name_datasets, resolve_device
from harness.plan.recipes import choose_recipe
from harness.plan.settings import complete_settings
from harness.registry import expand_names, find_dataset, model_files
from harness.settings import with_values
from harness.spec import ModelSpec
from harness.tuning.space import Space, TuneJob, held_out_rows, load_space


def plan_tuning(request: Request) -> list[TuneJob]:
    """Return a study for each data set and model, as often as workers share it.

    Of `all` models, those with one recipe, or one for all stages, are taken.

    Raises:
        RequestError: Anything in the request is wrong.
    """
    if not request.tune:
        raise RequestError("--measure tune wants --tune NUMBER, the trials of each model")
    if find_spec("optuna") is None:
        raise RequestError(
            "--tune needs Optuna: uv sync --extra tune, or pip install optuna (version in "
            "pyproject.toml)"
        )
    device = resolve_device(request.device, elsewhere=request.launcher != "local")
    seen: dict[Hashable, ImageData] = {}
    jobs, left_out = [], []
    for dataset in name_datasets(request):
        for model in expand_names("model", request.models, model_files()):
            if choose_recipe(request, model) == "tuned":
                raise RequestError("--tune searches for the recipe: leave out --recipe tuned")
            job, spec = make_job(request, Cell(dataset=dataset, model=model, device=device))
            if spec.fit is None or spec.first_stage is not None:
                jobs.append(_plan_study(request, job, spec, seen))
            else:
                why = f"is made from {spec.base}: tune that" if spec.base else "trains in stages"
                left_out.append(f"{model}: {spec.label} {why}")
    if left_out and (not jobs or "all" not in ",".join(request.models).split(",")):
        raise RequestError(f"--tune: {left_out[0]}")
    for line in left_out:
        print(f"left out: {line}", file=sys.stderr)
    workers = request.tune_workers or 1
    numbers = [request.tune_worker] if request.tune_worker else range(1, workers + 1)
    return [replace(job, worker=each, workers=workers) for job in jobs for each in numbers]


def _plan_study(
    request: Request, job: Job, spec: ModelSpec, seen: dict[Hashable, ImageData]
) -> TuneJob:
    space = load_space(job.cell.dataset, job.cell.model, request.tune_space, request.tune_budget)
    key = images_key(job, spec)
    if key not in seen:
        seen[key] = load_job_data(job, spec)
        accept_images(job, seen[key].source, force=request.force)
    data, seed = seen[key], job.settings.seed
    rest = int((~held_out_rows(data.train.labels, space.held_out, seed)).sum())
    if request.tune_budget and space.images > rest:
        raise RequestError(
            f"--tune-budget {request.tune_budget}: {job.cell.dataset} has {rest} images to train "
            f"on beside {len(data.train) - rest} that trials are judged by"
        )
    space = replace(space, images=min(space.images, rest))
    _check_space(job, spec, space, data)
    return TuneJob(job=job, trials=request.tune, space=space, data_sha256=data.source.sha256)


def _check_space(job: Job, spec: ModelSpec, space: Space, data: ImageData) -> None:
    """Refuse a space with a value that no trial of this model could have."""
    settings = with_values(job.settings, space.usual(job.settings), "search space")
    for name, domain in space.search.items():
        for value in domain.choices or (domain.low, domain.high):
            tried = with_values(settings, {name: value}, "search space")
            complete_settings(tried, spec, find_dataset(job.cell.dataset))
    if spec.first_stage is not None:
        spec, settings = spec.first_stage(settings), replace(settings, tree=None)
    check_fit(settings, spec, len(data.classes), data.channels, space.images)
