"""Plan of a comparison of latencies: one checked job for each data set."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from typing import cast, get_args

from harness.catalog import load_model
from harness.data.loading import ImageData, images_key, load_or_stand_in
from harness.errors import RequestError, unknown_name
from harness.jobs import Cell, Job, LatencyJob, Request, Runtime
from harness.measure.runtimes import require_libraries
from harness.networks.build import check_fit
from harness.networks.published import not_published, require_published
from harness.plan.images import accept_images
from harness.plan.jobs import (
    choose_models,
    describe_command,
    make_job,
    name_datasets,
    plan_published,
    resolve_device,
)
from harness.registry import split_names


def plan_latency(request: Request) -> list[LatencyJob]:
    """Return the checked jobs; a RequestError says what in the request is wrong."""
    device = resolve_device(request.device, elsewhere=request.launcher != "local")
    runtimes = _name_runtimes(request.runtimes)
    models = choose_models(
        request.models,
        lambda name: device in load_model(name).devices,
        f"does not run on {device}",
    )
    reference = request.reference or ("resnet" if "resnet" in models else models[0])
    if reference not in models:
        raise unknown_name("--reference", reference, models, "one of the models compared")
    plans = []
    for dataset in name_datasets(request):
        cells = [Cell(dataset=dataset, model=model, device=device) for model in models]
        plans.append(partial(_plan_dataset, request, cells, reference, runtimes))
    return plan_published(request, plans)


def _name_runtimes(chosen: list[str]) -> tuple[Runtime, ...]:
    """Return the different runtimes of a request, all of which are installed."""
    names = split_names("runtime", chosen)
    for name in names:
        if name not in get_args(Runtime):
            raise unknown_name("runtime", name, get_args(Runtime))
        require_libraries(name)
    return cast("tuple[Runtime, ...]", tuple(names)) or ("eager",)


def _plan_dataset(
    request: Request, cells: list[Cell], reference: str, runtimes: tuple[Runtime, ...]
) -> LatencyJob:
    seen: dict[Hashable, ImageData] = {}
    dataset, device = cells[0].dataset, cells[0].device
    jobs = plan_published(request, [partial(_plan_model, request, cell, seen) for cell in cells])
    names = [job.cell.model for job in jobs]
    if reference not in names:
        raise not_published(dataset, reference)
    command = describe_command(request, dataset, ",".join(names), device)
    command += f" --measure latency --runtime {','.join(runtimes)} --reference {reference}"
    return LatencyJob(jobs=tuple(jobs), reference=reference, runtimes=runtimes, command=command)


def _plan_model(request: Request, cell: Cell, seen: dict[Hashable, ImageData]) -> Job:
    """Return the job of one model, once its images have been checked."""
    job, spec = make_job(request, cell)
    if job.settings.weights == "train":
        raise RequestError("--measure latency trains nothing: leave out --weights train")
    if job.settings.weights == "published":
        require_published(cell.dataset, cell.model)
    key = images_key(job, spec)
    if key not in seen:
        seen[key] = load_or_stand_in(job, spec)
        accept_images(job, seen[key].source, force=request.force)
    data = seen[key]
    check_fit(job.settings, spec, len(data.classes), data.channels)
    return job
