"""One cell, from its job to its record."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

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
from harness.networks.build import build_network, make_preprocess
from harness.records import parts as record_parts
from harness.records.cell import Record, used_settings
from harness.records.parts import Compression, Data, Epoch, Load, Machine, Weights
from harness.records.predictions import (
    PREDICTIONS,
    Predictions,
    make_predictions,
    predictions_place,
)
from harness.run.accuracy import AccuracyPass, measure_accuracy
from harness.run.compression import measure_compression
from harness.run.costs import Costs, measure_costs, measure_routed_costs
from harness.run.provenance import make_provenance
from harness.run.provision import ReadyNetwork, ready_network
from harness.spec import ModelSpec
from harness.training.tracker import UNTRACKED, Tracker

_BATCH = 256
_PARAMETERS = (
    *("dataset", "model", "label", "device", "device_name", "threads", "precision", "seed"),
    *("repeat", "settings_hash", "git_commit", "git_dirty", "started", "command"),
    *("data_name", "data_sha256", "data_digest_of", "data_official"),
)


def run_cell(job: Job, tracker: Tracker = UNTRACKED) -> Record:
    """Get the cell's network ready, measure it, and return the record (not yet written).

    The predictions, whose digest is in the record, are written.

    Args:
        job: The cell.
        tracker: Is told what the cell is run with, and of every epoch of training.

    Raises:
        RequestError: The job cannot be carried out as it stands.
        CellError: The cell broke while it ran.
    """
    started = datetime.now(UTC)
    set_threads(job.settings.threads)
    spec = load_model(job.cell.model)
    data = load_job_data(job, spec)
    blank = begin_record(job, spec.title(job.settings), started)
    blank = dataclasses.replace(blank, data=_describe_data(data))
    tracker.begin(_parameters(blank))
    ready = ready_network(job, spec, data, tracker)
    network = ready.network.to(job.cell.device)
    accuracy, how = measure_accuracy(network, job, spec, data)
    preprocess, compression = make_preprocess(job.settings, spec), None
    with undisturbed(job.cell.device, str(job)) as conditions:
        costs = _measure_costs(network, job, data, preprocess, accuracy)
        if spec.base:
            compression = _measure_compression(network, ready, job, spec, data, costs)
    predictions = make_predictions(accuracy.predictions, data.test.labels.numpy())
    reasons = costs.not_measured | {"accuracy_top5": accuracy.accuracy_top5_reason}
    record = dataclasses.replace(
        blank,
        status="ok",
        weights=_describe_weights(ready),
        accuracy=_describe_accuracy(accuracy, how, predictions),
        latency=costs.latency,
        throughput=costs.throughput,
        memory=costs.memory,
        operations=costs.operations,
        energy=costs.energy,
        paths=costs.paths,
        compression=compression,
        machine=dataclasses.replace(
            blank.machine,
            cores=conditions.cores,
            load=Load(**dataclasses.asdict(conditions.load)),
            busy=conditions.busy,
        ),
        provenance=make_provenance(blank.provenance.environment, started, job.command),
        not_measured={name: reason for name, reason in reasons.items() if reason},
    )
    place = predictions_place(record.cell.dataset, record.stem)
    PREDICTIONS.write(job.results_dir, predictions, place)
    return record


def begin_record(job: Job, label: str, started: datetime) -> Record:
    """Return the record of a cell that has failed, for a reason that is not known yet."""
    environment = dataclasses.asdict(describe_environment(job.cell.device))
    return Record(
        cell=job.cell,
        label=label,
        status="failed",
        settings=used_settings(job),
        accuracy=record_parts.Accuracy(precision=job.settings.evaluation.precision),
        machine=Machine(device_name=environment["device_name"], threads=torch.get_num_threads()),
        provenance=make_provenance(environment, started, job.command),
    )


def _parameters(record: Record) -> dict[str, Any]:
    """Return what a tracker is told: the settings, and what is special about this run."""
    return {**record.settings.settings, **{name: record.flat[name] for name in _PARAMETERS}}


def _describe_data(data: ImageData) -> Data:
    return Data(
        data_name=data.source.name,
        data_sha256=data.source.sha256,
        data_digest_of=data.source.digest_of,
        data_official=data.source.official,
        classes=list(data.classes),
    )


def _describe_weights(ready: ReadyNetwork) -> Weights:
    weights = Weights(weights_origin=ready.origin, weights_sha256=ready.sha256)
    if ready.sidecar is None:
        return weights
    sidecar = ready.sidecar
    return dataclasses.replace(
        weights,
        start=sidecar.start,
        epochs=len(sidecar.logs),
        training_seconds=round(sidecar.training_seconds, 1),
        training_precision=sidecar.settings["precision"],
        history=[Epoch(**log) for log in sidecar.logs],
    )


def _measure_costs(
    network: nn.Module, job: Job, data: ImageData, preprocess: Preprocess, accuracy: Accuracy
) -> Costs:
    """Measure what test images cost."""
    adapter = adapt(network)
    if not isinstance(adapter, RoutedAdapter):
        return measure_costs(network, _first_image(data, preprocess, job), job)
    # At random, because test images may be sorted by class, and so by path.
    generator = torch.Generator().manual_seed(job.settings.seed)
    order = torch.randperm(len(data.test), generator=generator)
    images = torch.cat([batch for batch, _ in data.test.batches(order, _BATCH)])
    images = preprocess(images.to(job.cell.device))
    predictions = torch.from_numpy(accuracy.predictions.astype("int64"))[order]
    return measure_routed_costs(adapter, images, predictions, job)


def _measure_compression(
    network: nn.Module,
    ready: ReadyNetwork,
    job: Job,
    spec: ModelSpec,
    data: ImageData,
    costs: Costs,
) -> Compression:
    """Return what a compressed model was made from, and what both of them cost."""
    base = build_network(load_model(spec.base), job.settings, len(data.classes), data.channels)
    example = _first_image(data, make_preprocess(job.settings, spec), job)
    notes = (ready.sidecar.compression if ready.sidecar else None) or {}
    origin = {"base": spec.base, "method": spec.section}
    origin |= {name: value for name, value in notes.items() if name != "settings"}
    return measure_compression(network, base.to(job.cell.device), example, costs, job, origin)


def _first_image(data: ImageData, preprocess: Preprocess, job: Job) -> Tensor:
    return preprocess(next(data.test.batches(None, 1))[0].to(job.cell.device))


def _describe_accuracy(
    accuracy: Accuracy, how: AccuracyPass, predictions: Predictions
) -> record_parts.Accuracy:
    matrix = accuracy.confusion_matrix
    if any(accuracy.predicted_outside):
        rows = zip(matrix, accuracy.predicted_outside, strict=True)
        matrix = [[*row, outside] for row, outside in rows]
    return record_parts.Accuracy(
        accuracy_top1=accuracy.accuracy_top1,
        accuracy_top1_low=accuracy.accuracy_top1_low,
        accuracy_top1_high=accuracy.accuracy_top1_high,
        accuracy_top5=accuracy.accuracy_top5,
        n_test=accuracy.n_test,
        confusion_matrix=matrix,
        predictions_sha256=predictions.sha256,
        test_labels_sha256=predictions.labels_sha256,
        **vars(how),
    )
