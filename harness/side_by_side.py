"""Models timed side by side, in one process and in the same rounds; nothing is trained."""

from __future__ import annotations

import dataclasses
import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor

from harness.building import make_preprocess
from harness.conditions import set_threads, undisturbed
from harness.data import ImageData
from harness.errors import CellError
from harness.latency_records import LatencyRecord, LatencyRow
from harness.measure.environment import describe_environment
from harness.measure.latency import Network, in_turn
from harness.measure.ratios import Comparison, Ratio, compare_latency
from harness.networks import ReadyNetwork, ready_network, trained_weights_path
from harness.registry import load_model
from harness.routed import RoutedNetwork
from harness.runtimes import Prepared, prepare
from harness.spec import Job, LatencyJob, ModelSpec, Runtime
from harness.stand_in import load_or_stand_in
from harness.weights import read_sidecar

logger = logging.getLogger(__name__)

# A routed network's images differ in cost, so it is given many in turn.
_ROUTED_IMAGES = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class _Model:
    """A network with the images that it is timed on, N×C×H×W, both on the device."""

    job: Job
    spec: ModelSpec
    ready: ReadyNetwork
    images: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class _Candidate:
    """A network in a runtime, as it is called; the row lacks its times."""

    row: LatencyRow
    call: Network
    image: Tensor


def run_latency_job(job: LatencyJob) -> LatencyRecord:
    """Time every model of a job in every runtime, and return the record (not yet written).

    Raises:
        RequestError: The job cannot be carried out as it stands.
        CellError: The reference cannot be timed.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    settings, device = job.jobs[0].settings, job.jobs[0].cell.device
    threads = set_threads(settings)
    models, data = _load_all(job)
    candidates = [_prepare(model, runtime) for runtime in job.runtimes for model in models]
    with undisturbed(device, str(job)) as conditions:
        comparison = _compare(candidates, job)
    environment = describe_environment(device)
    timed = comparison.ratios.values()
    return LatencyRecord(
        dataset=job.jobs[0].cell.dataset,
        device=device,
        device_name=environment.device_name,
        threads=threads,
        reference=job.reference,
        reference_runtime=job.runtimes[0],
        rounds=max(each.latency.rounds for each in timed),
        drift=comparison.drift,
        drifted=comparison.drifted,
        reruns=comparison.reruns,
        method=next(each.latency.method for each in timed),
        **conditions,
        rows=tuple(_filled(candidate.row, comparison) for candidate in candidates),
        data_name=data.source.name,
        data_sha256=data.source.sha256,
        seed=settings.seed,
        environment=dataclasses.asdict(environment),
        git_commit=environment.git_commit,
        git_dirty=environment.git_dirty,
        started=started.isoformat(timespec="seconds"),
        duration_s=round(time.perf_counter() - clock, 1),
        command=job.command,
    )


def _load_all(job: LatencyJob) -> tuple[list[_Model], ImageData]:
    """Return the job's models, and the images as the first of them reads them."""
    seen: dict[int | None, ImageData] = {}
    models = []
    for each in job.jobs:
        size = each.settings.image_size
        if size not in seen:
            seen[size] = load_or_stand_in(each, load_model(each.cell.model))
        models.append(_load(each, seen[size]))
    return models, next(iter(seen.values()))


def _load(job: Job, data: ImageData) -> _Model:
    """Return a job's network with trained weights where there are some, else with random ones."""
    spec = load_model(job.cell.model)
    random = job.settings.weights == "auto" and not _has_weights(job, data)
    if random:
        settings = dataclasses.replace(job.settings, weights="random")
        job = dataclasses.replace(job, settings=settings)
    ready = ready_network(job, spec, data)
    logger.info("%s: %s weights", job.cell, ready.origin)
    wanted = _ROUTED_IMAGES if isinstance(ready.network, RoutedNetwork) else 1
    generator = torch.Generator().manual_seed(job.settings.seed)
    order = torch.randperm(len(data.test), generator=generator)[:wanted]
    stored, _ = next(data.test.batches(order, len(order)))
    images = make_preprocess(job.settings, spec)(stored.to(job.cell.device))
    ready.network.to(job.cell.device)
    return _Model(job=job, spec=spec, ready=ready, images=images)


def _has_weights(job: Job, data: ImageData) -> bool:
    return read_sidecar(trained_weights_path(job, data.source.sha256)) is not None


def _prepare(model: _Model, runtime: Runtime) -> _Candidate:
    """Bring a model into a runtime; where that fails, the row says why."""
    row = LatencyRow(
        model=model.job.cell.model,
        label=model.spec.label,
        runtime=runtime,
        weights_origin=model.ready.origin,
        weights_sha256=model.ready.sha256,
        image_size=model.images.shape[-1],
    )
    network, image = model.ready.network, model.images[:1]
    try:
        if isinstance(network, RoutedNetwork):
            found, call = _prepare_routed(network, model, runtime)
        else:
            prepared = prepare(network, image, runtime)
            found, call = _describe(prepared), prepared.call
    except CellError as error:
        logger.info("%s in %s: %s", model.job.cell, runtime, error)
        found, call = {"reason": str(error)}, network
    return _Candidate(row=dataclasses.replace(row, **found), call=call, image=image)


def _describe(prepared: Prepared) -> dict[str, Any]:
    method = f"{prepared.version}: {prepared.method}"
    return {"runtime_method": method, "max_difference": prepared.max_difference}


def _prepare_routed(
    network: RoutedNetwork, model: _Model, runtime: Runtime
) -> tuple[dict[str, Any], Network]:
    """Return what is to be said of a routed network, and a call that routes images in turn.

    Raises:
        CellError: It has no weights, which say what it takes, or no fixed graph for the runtime.
    """
    if model.ready.origin == "random":
        raise CellError("it is routed: what it takes depends on its weights, and there are none")
    if runtime != "eager":
        raise CellError(f"it is routed: there is no fixed graph for {runtime}")
    method = f"{torch.__version__}: evaluation mode, fp32, {len(model.images)} images in turn"
    return {"runtime_method": method}, in_turn(network.route, model.images)


def _compare(candidates: list[_Candidate], job: LatencyJob) -> Comparison:
    timed = {_name(each.row): each for each in candidates if each.row.reason is None}
    reference = f"{job.reference} in {job.runtimes[0]}"
    if reference not in timed:
        reason = next(each.row.reason for each in candidates if _name(each.row) == reference)
        raise CellError(f"the reference {reference} cannot be timed: {reason}")
    limits = job.jobs[0].settings.measurement
    return compare_latency(
        {name: each.call for name, each in timed.items()},
        {name: each.image for name, each in timed.items()},
        reference=reference,
        rounds=limits.latency_rounds,
        seconds=limits.latency_seconds * len(timed),
        seed=job.jobs[0].settings.seed,
    )


def _filled(row: LatencyRow, comparison: Comparison) -> LatencyRow:
    """Return a row with its times, if it has any."""
    found: Ratio | None = comparison.ratios.get(_name(row))
    if found is None:
        return row
    names = ("latency_ms_p05", "latency_ms_p50", "latency_ms_p95", "latency_ms_p99")
    return dataclasses.replace(
        row,
        **{name: getattr(found.latency, name) for name in names},
        ratio=found.ratio,
        ratio_low=found.ratio_low,
        ratio_high=found.ratio_high,
    )


def _name(row: LatencyRow) -> str:
    return f"{row.model} in {row.runtime}"
