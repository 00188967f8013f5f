"""The run of one cell, from its job to its record."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Literal

import torch
from torch import Tensor, nn

from harness.catalog import load_model
from harness.data.loading import ImageData, load_job_data
from harness.data.preprocess import Preprocess
from harness.jobs import Job
from harness.measure.accuracy import Accuracy
from harness.measure.conditions import set_threads, undisturbed
from harness.measure.environment import describe_environment
from harness.networks.adapter import RoutedAdapter, adapt
from harness.networks.build import make_preprocess
from harness.records import parts as record_parts
from harness.records.cell import Record, used_settings
from harness.records.parts import Data, Epoch, Layout, Machine, Weights
from harness.records.predictions import PREDICTIONS, make_predictions, predictions_place
from harness.registry import model_code
from harness.run.accuracy import measure_accuracy
from harness.run.compression import measure_compression
from harness.run.costs import Costs, measure_costs, measure_routed_costs
from harness.run.provenance import describe_conditions, make_provenance
from harness.run.provision import ReadyNetwork, ready_network
from harness.training.tracker import UNTRACKED, Tracker

_BATCH = 256
_PARAMETERS = (
    *("dataset", "model", "label", "device", "device_name", "threads", "precision", "seed"),
    *("repeat", "settings_hash", "git_commit", "git_dirty", "started", "command"),
    *("data_name", "data_sha256", "data_digest_of", "data_official"),
)


def run_cell(job: Job, tracker: Tracker = UNTRACKED) -> Record:
    """Get the cell's network ready, measure it, write its predictions, return its record unwritten.

    A RequestError says that the job cannot be carried out as it stands, a CellError that it broke.
    """
    started = datetime.now(UTC)
    set_threads(job.settings.threads)
    spec = load_model(job.cell.model)
    data = load_job_data(job, spec)
    blank = begin_record(job, spec.title(job.settings), started)
    blank = dataclasses.replace(blank, data=_describe_data(data))
    named = {name: blank.flat[name] for name in _PARAMETERS}
    tracker.begin({**blank.settings.settings, **named})
    ready = ready_network(job, spec, data, tracker)
    network = ready.network.to(job.cell.device)
    accuracy, accuracy_part = measure_accuracy(network, job, spec, data)
    preprocess, compression = make_preprocess(job.settings, spec), None
    with undisturbed(job.cell.device, str(job)) as conditions:
        costs = _measure_costs(network, job, data, preprocess, accuracy)
        if spec.base:
            example = _first_image(data, preprocess, job)
            compression = measure_compression(ready, example, costs, job, spec, data)
    predictions = make_predictions(accuracy.predictions, data.test.labels.numpy())
    reasons = costs.not_measured | {"accuracy_top5": accuracy.accuracy_top5_reason}
    not_measured = {name: reason for name, reason in reasons.items() if reason}
    record = dataclasses.replace(
        blank,
        status="ok",
        weights=_describe_weights(ready, job),
        accuracy=dataclasses.replace(
            accuracy_part,
            predictions_sha256=predictions.sha256,
            test_labels_sha256=predictions.labels_sha256,
        ),
        compression=compression,
        machine=dataclasses.replace(blank.machine, **describe_conditions(conditions)),
        provenance=make_provenance(blank.provenance.environment, started, job.command),
        **vars(costs) | {"not_measured": not_measured},
    )
    place = predictions_place(record.cell.dataset, record.stem)
    PREDICTIONS.write(job.results_dir, predictions, place)
    return record


def begin_record(job: Job, label: str, started: datetime) -> Record:
    """Return the record of a cell that has failed, without the reason."""
    environment = describe_environment(job.cell.device)
    return Record(
        cell=job.cell,
        label=label,
        status="failed",
        settings=used_settings(job),
        accuracy=record_parts.Accuracy(precision=job.settings.evaluation.precision),
        machine=Machine(device_name=environment["device_name"], threads=torch.get_num_threads()),
        provenance=make_provenance(environment, started, job.command),
    )


def _describe_data(data: ImageData) -> Data:
    return Data(
        data_name=data.source.name,
        data_sha256=data.source.sha256,
        data_digest_of=data.source.digest_of,
        data_official=data.source.official,
        classes=list(data.classes),
        data_notes=list(data.source.notes),
    )


def _describe_weights(ready: ReadyNetwork, job: Job) -> Weights:
    origin, sha256, sidecar = ready.origin, ready.sha256, ready.sidecar
    start = sidecar.real_start if sidecar else origin
    stem_start: Literal["random"] | None = None
    if job.settings.stem and start == "imagenet":
        stem_start = "random"
    if sidecar is None:
        return Weights(
            weights_origin=origin,
            weights_sha256=sha256,
            stem_start=stem_start,
            code_digest=model_code(job.cell.model) or None,
        )
    layouts: dict[bool | None, Layout | None]
    layouts = {None: None, True: "channels last", False: "contiguous"}
    return Weights(
        weights_origin=origin,
        weights_sha256=sha256,
        start=sidecar.start,
        stem_start=stem_start,
        epochs=len(sidecar.logs),
        training_seconds=round(sidecar.training_seconds, 1),
        training_device=sidecar.device,
        training_precision=str(sidecar.settings.get("precision", "")) or None,
        training_processes=sidecar.processes,
        training_layout=layouts[sidecar.channels_last],
        code_digest=sidecar.code or None,
        history=[Epoch(**log) for log in sidecar.logs],
    )


def _measure_costs(
    network: nn.Module, job: Job, data: ImageData, preprocess: Preprocess, accuracy: Accuracy
) -> Costs:
    adapter = adapt(network)
    if not isinstance(adapter, RoutedAdapter):
        return measure_costs(network, _first_image(data, preprocess, job), job)
    # In random order, because test images may be sorted by class, and so by path.
    generator = torch.Generator().manual_seed(job.settings.seed)
    order = torch.randperm(len(data.test), generator=generator)
    images = torch.cat([batch for batch, _ in data.test.batches(order, _BATCH)])
    images = preprocess(images.to(job.cell.device))
    predictions = torch.from_numpy(accuracy.predictions.astype("int64"))[order]
    return measure_routed_costs(adapter, images, predictions, job)


def _first_image(data: ImageData, preprocess: Preprocess, job: Job) -> Tensor:
    return preprocess(next(data.test.batches(None, 1))[0].to(job.cell.device))
