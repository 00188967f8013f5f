"""Plan of a request: its cells, with settings, and the next action for each of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from harness.catalog import load_model
from harness.data.loading import DataSource, images_key, load_job_data
from harness.errors import unknown_name
from harness.jobs import Cell, Job, Request
from harness.networks.build import check_fit
from harness.networks.published import require_published
from harness.networks.weights import Sidecar, read_sidecar
from harness.networks.weights_files import (
    base_job,
    checkpoint_path,
    fell_back,
    stages_folder,
    trained_weights_path,
    unfinished_path,
)
from harness.plan.images import accept_images
from harness.plan.jobs import (
    make_job,
    name_datasets,
    name_seeds,
    name_trackers,
    plan_published,
    resolve_device,
)
from harness.records.cell import Record, find_record
from harness.records.comparability import FAIR, require_fair
from harness.registry import expand_names, model_code, model_files
from harness.settings import settings_hash, settings_with_start
from harness.spec import ModelSpec
from harness.training.checkpoints import load_training
from harness.training.stages import describe_progress

Action = Literal["done", "measure", "train", "continue", "unsupported"]

_THEN_MEASURE = ", then measure"


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One cell of a request, and the next action for it.

    Attributes:
        spec: The cell's model.
        action: done (an equal record exists), measure (weights exist or need no training), train,
            continue (train from a checkpoint) or unsupported (cannot run on this device).
        detail: The action and its reason in words.
        record: The existing record of the cell, equal or not.
        first: The training of a compressed model's base, if the base is not trained yet.
    """

    job: Job
    spec: ModelSpec
    action: Action
    detail: str
    record: Record | None
    n_train: int = 0
    channels: int = 0
    first: Planned | None = None

    def __str__(self) -> str:
        return str(self.job)


class _Images(NamedTuple):
    """The facts about checked images that planning needs."""

    source: DataSource
    n_train: int
    num_classes: int
    channels: int


def plan_request(request: Request) -> list[Planned]:
    """Plan each cell; a RequestError says what in the request is wrong."""
    device = resolve_device(request.device, elsewhere=request.launcher != "local")
    name_trackers(request)
    cells = [
        Cell(dataset=dataset, model=model, device=device)
        for dataset in name_datasets(request)
        for model in expand_names("model", request.models, model_files())
    ]
    seeds = name_seeds(request.seeds)
    seen: dict[Hashable, _Images] = {}
    plans = [partial(_plan_cell, request, cell, seed, seen) for cell in cells for seed in seeds]
    planned = plan_published(request, plans)
    if request.fair:
        if request.fair not in FAIR:
            raise unknown_name("--fair", request.fair, FAIR)
        runnable = [(each.job, each.spec) for each in planned if each.action != "unsupported"]
        require_fair(runnable, request.fair)
    return planned


def find_job_record(job: Job) -> Record | None:
    """Return the record of a job's cell, if any; a RequestError if another file is there."""
    return find_record(
        job.results_dir,
        job.cell,
        published=job.settings.weights == "published",
        repeat_seed=job.settings.seed if job.repeat else None,
    )


def has_settings(record: Record, job: Job) -> bool:
    """Return whether a record is of the settings of a job."""
    # Recipes that say imagenet or random now said auto before; weights tell their start.
    hashes = {settings_hash(s) for s in (job.settings, settings_with_start(job.settings, "auto"))}
    return record.settings.settings_hash in hashes


def _plan_cell(
    request: Request, cell: Cell, seed: int | None, seen: dict[Hashable, _Images]
) -> Planned:
    job, spec = make_job(request, cell, seed)
    record = find_job_record(job)
    if job.cell.device not in spec.devices:
        reason = f"{spec.label} runs on {' and '.join(spec.devices)} only"
        return Planned(job=job, spec=spec, action="unsupported", detail=reason, record=record)
    if job.settings.weights == "published":
        require_published(cell.dataset, cell.model)
    images = _check_images(job, spec, seen, request.force)
    action, detail = _next_action(job, spec, images.source, record, request)
    if action != "done":
        # A tree looks at its own batches; a compressed model is trained as its base is.
        alike = action in ("train", "continue") and (spec.fit is None or spec.base)
        n_train = images.n_train if alike else None
        check_fit(job.settings, spec, images.num_classes, images.channels, n_train)
    planned = Planned(
        job=job,
        spec=spec,
        action=action,
        detail=detail,
        record=record,
        n_train=images.n_train,
        channels=images.channels,
    )
    return _with_base(planned, images.source) if spec.base else planned


def _with_base(planned: Planned, source: DataSource) -> Planned:
    """Add the training of a compressed model's base, if the base is not trained yet."""
    job, spec = base_job(planned.job, planned.spec), load_model(planned.spec.base)
    sidecar = read_sidecar(trained_weights_path(job, source.sha256))
    there = sidecar is not None and not fell_back(job, spec, sidecar)
    if planned.action not in ("train", "continue") or there:
        return planned
    weights = unfinished_path(job, source.sha256)
    action, detail = _next_training(job, spec, weights)
    record = find_record(job.results_dir, job.cell)
    first = dataclasses.replace(
        planned, job=job, spec=spec, action=action, detail=detail, record=record
    )
    todo = f"{job.cell.model} first: {detail.removesuffix(_THEN_MEASURE)}; then {planned.detail}"
    return dataclasses.replace(planned, detail=todo, action=action, first=first)


def _check_images(job: Job, spec: ModelSpec, seen: dict[Hashable, _Images], force: bool) -> _Images:
    """Load and check images once for all models that read them in the same way."""
    key = images_key(job, spec)
    if key not in seen:
        data = load_job_data(job, spec)
        accept_images(job, data.source, force=force)
        seen[key] = _Images(data.source, len(data.train), len(data.classes), data.channels)
    return seen[key]


def _next_action(
    job: Job, spec: ModelSpec, source: DataSource, record: Record | None, request: Request
) -> tuple[Action, str]:
    choice = job.settings.weights
    sidecar = read_sidecar(trained_weights_path(job, source.sha256))
    start = load_model(spec.base) if spec.base else spec
    fallback = sidecar is not None and fell_back(job, start, sidecar)
    trained = choice in ("auto", "train")
    known = sidecar if trained else None
    equal = record is not None and _is_equal(record, job, source, known, request)
    noted = record is not None and record.weights.code_digest
    if equal and not request.force and not (trained and fallback):
        unknown = "" if noted else ", made before the code of a model was noted"
        return "done", f"an equal record exists{unknown} (--force runs it again)"
    action: Action = "measure"
    if not trained:
        detail = f"{choice} weights"
    elif sidecar is None or choice == "train":
        action, detail = _next_training(job, spec, unfinished_path(job, source.sha256))
    elif fallback:
        _, detail = _next_training(job, spec, unfinished_path(job, source.sha256))
        action, detail = "train", f"{start.pretrained} weights were missing: look again, {detail}"
    else:
        unknown = "" if sidecar.code else ", from before the code of a model was noted"
        detail = f"weights trained for {len(sidecar.logs)} epochs are there{unknown}"
    if noted and noted != model_code(job.cell.model):
        detail = f"the code of {job.cell.model} has changed since its record was made: {detail}"
    return action, detail


def _next_training(job: Job, spec: ModelSpec, weights: Path) -> tuple[Action, str]:
    """Return whether training starts or continues, and from where."""
    if spec.fit is not None:
        progress = describe_progress(stages_folder(weights))
        return ("continue", progress) if progress else ("train", f"train in stages{_THEN_MEASURE}")
    epochs = job.settings.training.epochs
    checkpoint = load_training(checkpoint_path(weights))
    if checkpoint is None:
        return "train", f"train {epochs} epochs{_THEN_MEASURE}"
    epoch, step = len(checkpoint["logs"]) + 1, checkpoint["tally"]["step"] + 1
    if epoch > epochs:
        return "continue", f"all {epochs} epochs are trained, measure"
    return "continue", f"train from epoch {epoch} of {epochs}, step {step}{_THEN_MEASURE}"


def _is_equal(
    record: Record, job: Job, source: DataSource, sidecar: Sidecar | None, request: Request
) -> bool:
    """Whether a record is the result that running the job would have; on a cluster, on any node."""
    from harness.measure.environment import device_name

    start = record.compression.base_start if record.compression else record.weights.start
    found = (record.weights.weights_sha256, start)
    wanted = (sidecar.sha256, sidecar.real_start) if sidecar else (None, None)
    weights_match = found == wanted or record.weights.weights_origin == "published"
    elsewhere = request.launcher != "local"
    return (
        record.status == "ok"
        and has_settings(record, job)
        and record.data.data_sha256 == source.sha256
        and weights_match
        and record.weights.code_digest in (None, model_code(job.cell.model))
        and (elsewhere or record.machine.device_name == device_name(job.cell.device))
    )
