"""The search for a model's recipe: trials on training images, judged by others of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from harness.catalog import load_model
from harness.data.loading import ImageData, load_job_data
from harness.data.splits import take_rows
from harness.errors import CellError
from harness.jobs import Job
from harness.measure.conditions import set_threads
from harness.measure.environment import describe_environment
from harness.measure.operations import count_macs
from harness.networks.build import build_network
from harness.networks.weights_files import checkpoint_path
from harness.records.tuning import TuningRecord
from harness.registry import model_code
from harness.run.accuracy import measure_accuracy
from harness.run.provenance import make_provenance
from harness.settings import recipe_hash, settings_hash, with_values
from harness.spec import ModelSpec
from harness.training.checkpoints import delete_checkpoint
from harness.training.fit import train_network
from harness.tuning.space import TuneJob, held_out_rows
from harness.tuning.study import Report, best_of, run_trials
from harness.util.error_text import describe_error
from harness.util.hashing import hash_json


def tune(tuning: TuneJob) -> TuningRecord:
    """Run the trials that a study still lacks, and return its record.

    Raises:
        RequestError: The job cannot be carried out as it stands.
        CellError: No trial came to its end.
    """
    started, job, space = datetime.now(UTC), tuning.job, tuning.space
    set_threads(job.settings.threads)
    spec = load_model(job.cell.model)
    if spec.first_stage is not None:
        spec = spec.first_stage(job.settings)
    data = _shared_out(load_job_data(job, spec), tuning)
    parts = (recipe_hash(job.settings), dataclasses.asdict(space), data.source.sha256)
    key = hash_json([*parts, model_code(job.cell.model)])
    study = job.weights_dir / job.cell.dataset / "tuning" / f"{job.cell.model}-{key}.jsonl"

    def weights_of(number: int) -> Path:
        return study.with_name(f"{study.stem}-{number}.safetensors")

    def discard(number: int) -> None:
        delete_checkpoint(checkpoint_path(weights_of(number)))

    def train(number: int, values: Mapping[str, Any], report: Report) -> float:
        settings = with_values(
            job.settings, {**space.fixed, "training.epochs": space.epochs, **values}, "search space"
        )
        trial = dataclasses.replace(job, settings=settings)

        def on_epoch(network: nn.Module, log: Mapping[str, Any]) -> None:
            report(log, lambda: _judge(network, trial, spec, data))

        try:
            network = train_network(trial, spec, data, weights_of(number), on_epoch).network
        except (RuntimeError, ValueError) as error:
            raise CellError(f"training broke: {describe_error(error)}") from error
        return _judge(network, trial, spec, data)

    usual, seed = space.usual(job.settings), job.settings.seed
    trials = run_trials(study, space, tuning.trials, seed, usual, train, discard)
    best = best_of(trials)
    environment = describe_environment(job.cell.device)
    return TuningRecord(
        cell=job.cell,
        label=spec.title(job.settings),
        budget=tuning.budget,
        because=space.because,
        space=dataclasses.asdict(space),
        held_out=len(data.test),
        seed=job.settings.seed,
        trials=tuple(trials),
        workers=1 + max(trial.beside for trial in trials),
        best=best.number,
        recipe=space.fixed | best.values,
        gmacs=_count_gmacs(job, spec, data),
        chance=100 * data.test.labels.bincount().max().item() / len(data.test),
        data_name=data.source.name,
        data_sha256=data.source.sha256,
        settings_hash=settings_hash(job.settings),
        provenance=make_provenance(environment, started, job.command),
    )


def _shared_out(data: ImageData, tuning: TuneJob) -> ImageData:
    """Return training images alone: some to train on, and others in the place of test images."""
    space, seed = tuning.space, tuning.job.settings.seed
    judged = held_out_rows(data.train.labels, space.held_out, seed)
    rest = take_rows(data.train, (~judged).nonzero()[:, 0])
    chosen = torch.randperm(len(rest), generator=torch.Generator().manual_seed(seed))
    return dataclasses.replace(
        data,
        train=take_rows(rest, chosen[: space.images].sort().values),
        test=take_rows(data.train, judged.nonzero()[:, 0]),
        val=None,
    )


def _judge(network: nn.Module, job: Job, spec: ModelSpec, data: ImageData) -> float:
    """Return the accuracy on the held-out images, percent; the network keeps its modes."""
    modes = {module: module.training for module in network.modules()}
    network = network.to(job.training_device).eval()
    accuracy, _ = measure_accuracy(network, job, spec, data, compiles=False)
    for module, training in modes.items():
        module.training = training
    return accuracy.accuracy_top1


def _count_gmacs(job: Job, spec: ModelSpec, data: ImageData) -> float | None:
    size = spec.input_size(job.settings)
    network = build_network(spec, job.settings, len(data.classes), data.channels).eval()
    try:
        return count_macs(network, torch.zeros(1, data.channels, size, size)) / 1e9
    except CellError:
        return None
