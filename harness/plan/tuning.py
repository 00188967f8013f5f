"""Plan of a search for recipes (`--tune`): one study for each data set and model."""

from __future__ import annotations

import sys
from dataclasses import replace

from harness.data.loading import ImageData, images_key, load_job_data
from harness.errors import RequestError
from harness.jobs import Cell, Request
from harness.networks.build import check_fit
from harness.plan.images import accept_images
from harness.plan.jobs import make_job, name_datasets, resolve_device
from harness.registry import expand_names, model_files
from harness.settings import with_values
from harness.tuning.space import TuneJob, held_out_rows, load_space, read_budget


def plan_tuning(request: Request) -> list[TuneJob]:
    """Return a study for each data set and model; of `all` models, for those with one recipe.

    Raises:
        RequestError: Anything in the request is wrong.
    """
    if not request.tune:
        raise RequestError("--measure tune wants --tune NUMBER, the trials of each model")
    if request.recipe == "tuned":
        raise RequestError("--tune searches for the recipe: leave out --recipe tuned")
    device = resolve_device(request.device, elsewhere=request.launcher != "local")
    seen: dict[object, ImageData] = {}
    jobs, left_out = [], []
    for dataset in name_datasets(request):
        for model in expand_names("model", request.models, model_files()):
            job, spec = make_job(request, Cell(dataset=dataset, model=model, device=device))
            if spec.fit is not None:
                why = f"is made from {spec.base}: tune that" if spec.base else "trains in stages"
                left_out.append(f"{model}: {spec.label} {why}")
                continue
            space = load_space(dataset, model, request.tune_space, request.tune_budget)
            key = images_key(job, spec)
            if key not in seen:
                seen[key] = load_job_data(job, spec)
                accept_images(job, seen[key].source, force=request.force)
            data = seen[key]
            rest = int((~held_out_rows(data.train.labels, space.held_out, job.settings.seed)).sum())
            if read_budget(request.tune_budget) and space.images > rest:
                raise RequestError(
                    f"--tune-budget {request.tune_budget}: {dataset} has {rest} images to train on "
                    f"beside {len(data.train) - rest} that trials are judged by"
                )
            space = replace(space, images=min(space.images, rest))
            settings = with_values(job.settings, space.usual(job.settings), "search space")
            check_fit(settings, spec, len(data.classes), data.channels, space.images)
            jobs.append(
                TuneJob(job=job, trials=request.tune, space=space, data_sha256=data.source.sha256)
            )
    if left_out and (not jobs or "all" not in ",".join(request.models).split(",")):
        raise RequestError(f"--tune: {left_out[0]}")
    for line in left_out:
        print(f"left out: {line}", file=sys.stderr)
    return jobs
