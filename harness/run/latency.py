"""Timing of models side by side in one process, without training."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness.catalog import load_model
from harness.data.loading import ImageData, images_key, load_or_stand_in
from harness.errors import CellError
from harness.jobs import Job, LatencyJob, Runtime
from harness.measure.conditions import set_threads, watched
from harness.measure.environment import describe_environment
from harness.measure.latency import Network
from harness.measure.ratios import Rounds, time_side_by_side
from harness.networks.adapter import TimedCall, adapt
from harness.networks.build import make_preprocess
from harness.networks.weights import read_sidecar
from harness.networks.weights_files import trained_weights_path, with_stored_start
from harness.records.latency import LatencyRow
from harness.records.parts import Machine
from harness.run.provenance import describe_conditions
from harness.run.provision import ReadyNetwork, ready_network
from harness.spec import ModelSpec

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ProcessTimes:
    """The result of one process of a comparison, which can be written as JSON and read again.

    Attributes:
        rows: A row without times for each model and runtime.
        rounds: The times, by the names of the rows.
        machine: The machine, cores and load of this process.
        environment: The result of `describe_environment`.
    """

    rows: tuple[LatencyRow, ...]
    rounds: Rounds
    machine: Machine
    data_name: str
    data_sha256: str
    environment: dict[str, Any]


class _Model(NamedTuple):
    """A network and the images N×C×H×W that it is timed on, both on the device."""

    job: Job
    spec: ModelSpec
    ready: ReadyNetwork
    images: Tensor


class _Candidate(NamedTuple):
    """A network in a runtime, and its row without times."""

    row: LatencyRow
    call: Network
    image: Tensor


def time_models(job: LatencyJob, number: int) -> ProcessTimes:
    """Time every model of a job in every runtime, in this process.

    The caller holds the lock on the device. Images and the order of the models depend on the
    number of this process. A RequestError says that the job cannot be carried out as it stands, a
    CellError that the reference cannot be timed.
    """
    threads = set_threads(job.jobs[0].settings.threads)
    models, data = _load_all(job, number)
    candidates = [_prepare(model, runtime) for runtime in job.runtimes for model in models]
    with watched() as conditions:
        rounds = _time(candidates, job, number)
    environment = describe_environment(job.jobs[0].cell.device)
    return ProcessTimes(
        rows=tuple(each.row for each in candidates),
        rounds=rounds,
        machine=Machine(
            device_name=environment["device_name"],
            threads=threads,
            **describe_conditions(conditions),
        ),
        data_name=data.source.name,
        data_sha256=data.source.sha256,
        environment=environment,
    )


def _load_all(job: LatencyJob, number: int) -> tuple[list[_Model], ImageData]:
    """Return the models of a process, and the images as the first model reads them."""
    seen: dict[Hashable, ImageData] = {}
    models = []
    for each in job.jobs:
        spec = load_model(each.cell.model)
        key = images_key(each, spec)
        if key not in seen:
            seen[key] = load_or_stand_in(each, spec)
        models.append(_load(each, spec, seen[key], number))
    return models, next(iter(seen.values()))


def _load(job: Job, spec: ModelSpec, data: ImageData, number: int) -> _Model:
    """Return a job's network, with random weights if there are no trained ones."""
    job = with_stored_start(job, data.source.sha256)
    weights = trained_weights_path(job, data.source.sha256)
    if job.settings.weights == "auto" and read_sidecar(weights) is None:
        settings = dataclasses.replace(job.settings, weights="random")
        job = dataclasses.replace(job, settings=settings)
    ready = ready_network(job, spec, data)
    logger.info("%s: %s weights", job.cell, ready.origin)
    wanted = adapt(ready.network).timed_images
    generator = torch.Generator().manual_seed(job.settings.seed + number)
    order = torch.randperm(len(data.test), generator=generator)[:wanted]
    stored, _ = next(data.test.batches(order, len(order)))
    images = make_preprocess(job.settings, spec)(stored.to(job.cell.device))
    ready.network.to(job.cell.device)
    return _Model(job, spec, ready, images)


def _prepare(model: _Model, runtime: Runtime) -> _Candidate:
    """Convert a model to a runtime; if that fails, the row has the reason."""
    row = LatencyRow(
        model=model.job.cell.model,
        label=model.spec.title(model.job.settings),
        runtime=runtime,
        weights_origin=model.ready.origin,
        weights_sha256=model.ready.sha256,
        image_size=model.images.shape[-1],
    )
    image = model.images[:1]
    try:
        timed = _timed_call(model, runtime)
    except CellError as error:
        logger.info("%s in %s: %s", model.job.cell, runtime, error)
        failed = dataclasses.replace(row, reason=str(error))
        return _Candidate(failed, model.ready.network, image)
    method, difference = timed.method, timed.max_difference
    row = dataclasses.replace(row, runtime_method=method, max_difference=difference)
    return _Candidate(row, timed.call, image)


def _timed_call(model: _Model, runtime: Runtime) -> TimedCall:
    adapter = adapt(model.ready.network)
    if adapter.paths and model.ready.origin == "random":
        raise CellError("it is routed: what it takes depends on its weights, and there are none")
    return adapter.timed_call(model.images, runtime)


def _time(candidates: list[_Candidate], job: LatencyJob, number: int) -> Rounds:
    named = {each.row.name: each for each in candidates}
    reason = named[job.reference_name].row.reason
    if reason is not None:
        raise CellError(f"the reference {job.reference_name} cannot be timed: {reason}")
    timed = {name: each for name, each in named.items() if each.row.reason is None}
    settings = job.jobs[0].settings
    return time_side_by_side(
        {name: each.call for name, each in timed.items()},
        {name: each.image for name, each in timed.items()},
        reference=job.reference_name,
        rounds=settings.measurement.latency_rounds,
        seconds=settings.measurement.latency_seconds * len(timed),
        seed=settings.seed + number,
    )
