"""Training of a cell: the common loop, or the model's own stages; both write a weights file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from harness.data.batches import ImageBatches
from harness.data.loading import ImageData
from harness.data.shares import Share
from harness.errors import CellError, RequestError
from harness.jobs import Job
from harness.networks.build import build_network, build_pretrained, make_preprocess
from harness.networks.hub import first_line
from harness.networks.weights import Sidecar, save_weights
from harness.networks.weights_files import (
    checkpoint_path,
    stages_folder,
    unfinished_path,
    with_start,
)
from harness.registry import model_code
from harness.settings import recipe_hash
from harness.spec import ModelSpec
from harness.training.checkpoints import load_training
from harness.training.loop import train
from harness.training.rehearsal import rehearse, trains_channels_last
from harness.training.stages import Base, Fitting, Stages
from harness.training.tracker import UNTRACKED, Tracker

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A trained network: the start of its weights, a log of every epoch, its layout, notes."""

    network: nn.Module
    start: str
    logs: list[dict[str, Any]]
    channels_last: bool
    notes: dict[str, Any] = field(default_factory=dict)


def learn(
    job: Job,
    spec: ModelSpec,
    data: ImageData,
    path: Path,
    tracker: Tracker = UNTRACKED,
    base: Base | None = None,
    share: Share | None = None,
) -> tuple[nn.Module, Sidecar]:
    """Train the network of a cell, or continue an interrupted training, and save its weights.

    The files of the unfinished training are named after `path`, and so is that of the weights,
    unless the settings leave the start to chance (auto). A compressed model is made from `base`.
    One of several processes takes its `share` of every batch; the first one saves the weights.

    Raises:
        RequestError: The request does not fit, or the weights to start from cannot be had.
        CellError: Training broke.
    """
    share = share or Share()
    sizes = (len(data.classes), data.channels)
    try:
        if spec.fit is None:
            trained = train_network(
                job, spec, data, path, lambda _, log: tracker.log_epoch(log), share
            )
        else:
            trained = _train_in_stages(spec.fit, job, spec, data, path, tracker, base)
    except (RuntimeError, ValueError) as error:
        raise CellError(f"training broke: {type(error).__name__}: {first_line(error)}") from error
    if job.settings.training.start == "auto":
        job = with_start(job, base.sidecar.start if base else trained.start)
        path = unfinished_path(job, data.source.sha256)
    settings = job.settings
    compression = settings.quantization or settings.pruning
    sidecar = Sidecar(
        dataset=job.cell.dataset,
        model=job.cell.model,
        num_classes=len(data.classes),
        image_size=spec.input_size(settings),
        channels=data.channels,
        recipe_hash=recipe_hash(settings),
        data_sha256=data.source.sha256,
        start=trained.start,
        seed=settings.seed,
        threads=torch.get_num_threads(),
        device=job.training_device,
        processes=share.processes,
        training_seconds=sum(log["seconds"] for log in trained.logs),
        logs=trained.logs,
        settings=asdict((compression or settings).training),
        structure=(
            spec.describe(trained.network, lambda: build_network(spec, settings, *sizes))
            if spec.describe
            else None
        ),
        tree=asdict(settings.tree) if settings.tree else None,
        compression=(
            {
                "base": base.name,
                "base_weights_sha256": base.sidecar.sha256,
                "base_start": base.sidecar.start,
                "base_epochs": len(base.sidecar.logs),
                "base_training_seconds": base.sidecar.training_seconds,
                "settings": asdict(compression) if compression else None,
                **trained.notes,
            }
            if base
            else None
        ),
        channels_last=trained.channels_last,
        code=model_code(job.cell.model),
    )
    if share.rank == 0:
        sidecar = save_weights(path, trained.network, sidecar)
    return trained.network, sidecar


def train_network(
    job: Job,
    spec: ModelSpec,
    data: ImageData,
    path: Path,
    on_epoch: Callable[[nn.Module, Mapping[str, Any]], None],
    share: Share | None = None,
) -> Trained:
    """Train one network by one recipe, as for most models; see `learn`.

    `on_epoch` takes the network, as the epoch left it on its device, and the epoch's log.
    """
    settings, device, recipe = job.settings, job.training_device, job.settings.training
    checkpoint, preprocess = checkpoint_path(path), make_preprocess(settings, spec)
    network, start = _start(job, spec, data, checkpoint)
    channels_last = rehearse(
        network,
        ImageBatches(data.train, preprocess, recipe, settings.seed, device),
        recipe,
        device=device,
        num_classes=len(data.classes),
        build=lambda: build_network(spec, settings, len(data.classes), data.channels),
    )
    logs = train(
        network,
        ImageBatches(data.train, preprocess, recipe, settings.seed, device, share=share),
        replace(recipe, channels_last=channels_last),
        device=device,
        checkpoint=checkpoint,
        checkpoint_seconds=60 * settings.checkpoint_minutes,
        start=start,
        title=str(job.cell),
        on_epoch=lambda log: on_epoch(network, log),
    )
    return Trained(network=network, start=start, logs=logs, channels_last=channels_last)


def _train_in_stages(
    fit: Callable[[Fitting], nn.Module],
    job: Job,
    spec: ModelSpec,
    data: ImageData,
    path: Path,
    tracker: Tracker,
    base: Base | None,
) -> Trained:
    """Train with the `fit` function of the model."""
    settings, device = job.settings, job.training_device
    stages = Stages(
        stages_folder(path),
        device=device,
        checkpoint_seconds=60 * settings.checkpoint_minutes,
        title=str(job.cell),
        tracker=tracker,
    )
    preprocess = make_preprocess(settings, spec)
    compression = settings.quantization or settings.pruning
    if base is not None and compression is not None:
        # A compressed model trains channels last only if its base can.
        images = preprocess(next(data.train.batches(None, 2))[0].to(device))
        if not trains_channels_last(base.network, images, device):
            recipe = replace(compression.training, channels_last=False)
            section: Any = {spec.section: replace(compression, training=recipe)}
            settings = replace(settings, **section)
    network = fit(
        Fitting(
            settings=settings,
            num_classes=len(data.classes),
            channels=data.channels,
            split=data.train,
            val=data.val,
            preprocess=preprocess,
            device=device,
            stages=stages,
            base=base,
        )
    )
    last = settings.quantization or settings.pruning or settings
    return Trained(
        network=network,
        start=base.name if base else "random",
        logs=stages.logs,
        channels_last=last.training.channels_last,
        notes=stages.notes,
    )


def _start(job: Job, spec: ModelSpec, data: ImageData, checkpoint: Path) -> tuple[nn.Module, str]:
    """Return the network to train, and whether its weights are imagenet or random."""
    state, wanted = load_training(checkpoint), job.settings.training.start
    sizes = (len(data.classes), data.channels)
    if state is not None:
        wanted = state.get("start", wanted)
    elif wanted == "imagenet" or (wanted == "auto" and spec.pretrained):
        try:
            return build_pretrained(spec, job.settings, *sizes), "imagenet"
        except RequestError as error:
            if wanted == "imagenet":
                raise RequestError(
                    f"{error}: this recipe starts from them; --set training.start=random goes "
                    "without"
                ) from error
            logger.warning("%s: %s; training starts from random weights", job.cell, error)
    # A checkpoint brings all weights: no need to load what it will overwrite.
    start = "imagenet" if wanted == "imagenet" else "random"
    return build_network(spec, job.settings, *sizes), start
