"""One cell, from its job to its record."""

from __future__ import annotations

import dataclasses
import time
from datetime import UTC, datetime

import torch
from torch import Tensor, nn

from harness.catalog import load_model
from harness.data.loading import ImageData, load_job_data
from harness.data.preprocess import Preprocess
from harness.jobs import Job
from harness.measure.accuracy import Accuracy
from harness.measure.conditions import set_threads, undisturbed
from harness.measure.environment import describe_environment
from harness.networks.build import build_network, make_preprocess
from harness.records.cell import Record
from harness.records.predictions import make_predictions, write_predictions
from harness.run.accuracy import measure_accuracy
from harness.run.compression import measure_compression
from harness.run.costs import Fields, Reasons, measure_costs, measure_routed_costs
from harness.run.provision import ReadyNetwork, ready_network
from harness.settings import settings_hash
from harness.spec import ConvertedNetwork, ModelSpec, RoutedNetwork
from harness.training.tracker import UNTRACKED, Tracker

_BATCH = 256


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
    started, clock = datetime.now(UTC), time.perf_counter()
    set_threads(job.settings.threads)
    spec = load_model(job.cell.model)
    data = load_job_data(job, spec)
    tracker.begin(_parameters(base_fields(job, spec.label, started) | _describe_data(data)))
    ready = ready_network(job, spec, data, tracker)
    network = ready.network.to(job.cell.device)
    accuracy, how = measure_accuracy(network, job, spec, data)
    preprocess = make_preprocess(job.settings, spec)
    with undisturbed(job.cell.device, str(job)) as conditions:
        costs, reasons = _measure_costs(network, job, data, preprocess, accuracy)
        if spec.base:
            costs["compression"] = _measure_compression(network, ready, job, spec, data, costs)
    reasons["accuracy_top5"] = accuracy.accuracy_top5_reason
    fields = base_fields(job, spec.label, started)
    if isinstance(network, ConvertedNetwork):
        fields["precision"] = network.precision
    predictions = make_predictions(accuracy.predictions, data.test.labels.numpy())
    record = Record(
        **fields,
        **_describe_weights(ready),
        **_describe_data(data),
        **_describe_accuracy(accuracy),
        predictions_sha256=predictions.sha256,
        test_labels_sha256=predictions.labels_sha256,
        **how,
        **costs,
        **conditions,
        not_measured={name: reason for name, reason in reasons.items() if reason},
        status="ok",
        image_size=preprocess.image_size,
        duration_s=round(time.perf_counter() - clock, 1),
    )
    write_predictions(job.results_dir, record.dataset, record.stem, predictions)
    return record


def _parameters(fields: Fields) -> Fields:
    """Return the settings and the fields that are not the same for all on a machine or its data."""
    left_out = ("environment", "classes", "settings")
    rest = {key: value for key, value in fields.items() if key not in left_out}
    return {**fields["settings"], **rest}


def base_fields(job: Job, label: str, started: datetime) -> Fields:
    """Return the fields of a record that are known whatever becomes of the cell."""
    environment = describe_environment(job.cell.device)
    return {
        "dataset": job.cell.dataset,
        "model": job.cell.model,
        "label": label,
        "device": job.cell.device,
        "device_name": environment.device_name,
        "threads": torch.get_num_threads(),
        "precision": job.settings.evaluation.precision,
        "seed": job.settings.seed,
        "repeat": job.repeat,
        "settings_hash": settings_hash(job.settings),
        "settings": dataclasses.asdict(job.settings),
        "git_commit": environment.git_commit,
        "git_dirty": environment.git_dirty,
        "environment": dataclasses.asdict(environment),
        "started": started.isoformat(timespec="seconds"),
        "command": job.command,
    }


def _describe_data(data: ImageData) -> Fields:
    """Return the fields of a record that say what the images are."""
    return {
        "classes": list(data.classes),
        "data_name": data.source.name,
        "data_sha256": data.source.sha256,
        "data_digest_of": data.source.digest_of,
        "data_official": data.source.official,
    }


def _describe_weights(ready: ReadyNetwork) -> Fields:
    fields: Fields = {"weights_origin": ready.origin, "weights_sha256": ready.sha256}
    if ready.sidecar is not None:
        sidecar = ready.sidecar
        fields |= {
            "start": sidecar.start,
            "epochs": len(sidecar.logs),
            "training_seconds": round(sidecar.training_seconds, 1),
            "training_precision": sidecar.settings["precision"],
            "history": sidecar.logs,
        }
    return fields


def _measure_costs(
    network: nn.Module, job: Job, data: ImageData, preprocess: Preprocess, accuracy: Accuracy
) -> tuple[Fields, Reasons]:
    """Measure what test images cost; return the fields and why any of them is None."""
    if not isinstance(network, RoutedNetwork):
        return measure_costs(network, _first_image(data, preprocess, job), job)
    # At random, because test images may be sorted by class, and so by path.
    generator = torch.Generator().manual_seed(job.settings.seed)
    order = torch.randperm(len(data.test), generator=generator)
    images = torch.cat([batch for batch, _ in data.test.batches(order, _BATCH)])
    images = preprocess(images.to(job.cell.device))
    predictions = torch.from_numpy(accuracy.predictions.astype("int64"))[order]
    return measure_routed_costs(network, images, predictions, job)


def _measure_compression(
    network: nn.Module,
    ready: ReadyNetwork,
    job: Job,
    spec: ModelSpec,
    data: ImageData,
    costs: Fields,
) -> Fields:
    """Return what a compressed model was made from, and what both of them cost."""
    of_base = build_network(load_model(spec.base), job.settings, len(data.classes), data.channels)
    example = _first_image(data, make_preprocess(job.settings, spec), job)
    notes = (ready.sidecar.compression if ready.sidecar else None) or {}
    known = {name: value for name, value in notes.items() if name != "settings"}
    measured = measure_compression(network, of_base.to(job.cell.device), example, costs, job)
    return {"base": spec.base, "method": spec.section, **known, **measured}


def _first_image(data: ImageData, preprocess: Preprocess, job: Job) -> Tensor:
    return preprocess(next(data.test.batches(None, 1))[0].to(job.cell.device))


def _describe_accuracy(accuracy: Accuracy) -> Fields:
    matrix = accuracy.confusion_matrix
    if any(accuracy.predicted_outside):
        rows = zip(matrix, accuracy.predicted_outside, strict=True)
        matrix = [[*row, outside] for row, outside in rows]
    return {
        "accuracy_top1": accuracy.accuracy_top1,
        "accuracy_top1_low": accuracy.accuracy_top1_low,
        "accuracy_top1_high": accuracy.accuracy_top1_high,
        "accuracy_top5": accuracy.accuracy_top5,
        "n_test": accuracy.n_test,
        "confusion_matrix": matrix,
    }
