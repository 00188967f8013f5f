"""Plan of counting costs: one checked job for each data set."""

from __future__ import annotations

import dataclasses
from functools import partial

from harness.catalog import load_model
from harness.errors import RequestError
from harness.jobs import Cell, CostJob, Job, Request
from harness.networks.build import check_fit
from harness.networks.published import published_file
from harness.plan.jobs import choose_models, make_job, plan_published
from harness.registry import dataset_files, expand_names, load_dataset
from harness.spec import shape_is_trained


def plan_costs(request: Request) -> list[CostJob]:
    """Return the checked jobs; a RequestError says what in the request is wrong."""
    if request.data_file is not None:
        raise RequestError("--measure cost looks at no images: leave out --data-file")
    if request.device not in ("auto", "cpu"):
        raise RequestError("--measure cost counts, whatever the device: leave out --device")
    models = _name_models(request.models)
    jobs = []
    for dataset in expand_names("data set", request.datasets, dataset_files()):
        plans = [partial(_plan_model, request, dataset, model) for model in models]
        jobs.append(CostJob(jobs=tuple(plan_published(request, plans))))
    return jobs


def _name_models(chosen: list[str]) -> list[str]:
    """Return the models that a request asks for; of `all`, those that can be counted untrained."""

    def can_be_counted(name: str) -> bool:
        spec = load_model(name)
        return not shape_is_trained(spec) or spec.load_published is not None

    refusal = "gets its shape in training; run the cell, whose record has its costs"
    return choose_models(chosen, can_be_counted, refusal)


def _plan_model(request: Request, dataset: str, model: str) -> Job:
    job, spec = make_job(request, Cell(dataset=dataset, model=model, device="cpu"))
    job = dataclasses.replace(job, command=f"{job.command} --measure cost")
    if job.settings.weights in ("train", "imagenet"):
        raise RequestError(
            f"--measure cost trains nothing: leave out --weights {job.settings.weights}"
        )
    if job.settings.weights == "published" and spec.published_form is not None:
        published_file(dataset, model)
    if not shape_is_trained(spec):
        shape = load_dataset(dataset)
        check_fit(job.settings, spec, len(shape.classes), shape.channels)
    return job
