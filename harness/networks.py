"""A network with its weights: trained here, loaded, published, pre-trained or random."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed
from torch import nn

from harness.batches import ImageBatches
from harness.checkpoints import load_checkpoint
from harness.data import ImageData
from harness.errors import CellError, RequestError
from harness.files import file_sha256
from harness.images import Preprocess
from harness.published import fetch_published, published_file, read_state
from harness.settings import recipe_hash
from harness.spec import Job, ModelSpec, Settings
from harness.stages import Fitting, Stages
from harness.training import train
from harness.weights import (
    Sidecar,
    load_state,
    load_weights,
    read_sidecar,
    save_weights,
    weights_path,
)

logger = logging.getLogger(__name__)

# What networks raise that refuse an image, or cannot run on a device without data.
_DOES_NOT_RUN = (AssertionError, NotImplementedError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True, kw_only=True)
class ReadyNetwork:
    """A network to measure, and where its weights come from.

    Attributes:
        network: On the CPU, in evaluation mode.
        origin: trained, published, imagenet or random.
        sha256: Of the weights file; None where there is none.
        sidecar: How the weights were trained; None where they were not trained here.
    """

    network: nn.Module
    origin: str
    sha256: str | None = None
    sidecar: Sidecar | None = None


def make_preprocess(settings: Settings, spec: ModelSpec) -> Preprocess:
    """Return what turns stored images into network input under these settings."""
    size = settings.image_size or spec.image_size
    return Preprocess(image_size=size, mean=settings.mean, std=settings.std)


def ready_network(job: Job, spec: ModelSpec, data: ImageData) -> ReadyNetwork:
    """Return the cell's network with the weights that the job asks for.

    Raises:
        RequestError: The weights cannot be had or do not fit.
        CellError: Training broke.
    """
    choice, classes = job.settings.weights, len(data.classes)
    if choice == "published":
        return _published(job, spec, classes, data.channels)
    if choice == "imagenet":
        network = _build_pretrained(spec, job.settings, classes, data.channels)
        return ReadyNetwork(network=network.eval(), origin=choice)
    if choice == "random":
        network = build_network(spec, job.settings, classes, data.channels)
        return ReadyNetwork(network=network.eval(), origin=choice)
    path = trained_weights_path(job, data.source.sha256)
    sidecar = read_sidecar(path) if choice == "auto" else None
    if sidecar is not None:
        _check_classes(sidecar, classes, path)
        network = _rebuild(spec, job.settings, sidecar, data.channels, path)
        load_weights(path, network, sidecar)
        logger.info("%s: weights loaded from %s", job.cell, path)
    else:
        network, sidecar = _train(job, spec, data, path)
    return ReadyNetwork(
        network=network.eval(), origin="trained", sha256=sidecar.sha256, sidecar=sidecar
    )


def trained_weights_path(job: Job, data_sha256: str) -> Path:
    """Return where the weights that this job would train lie."""
    recipe = recipe_hash(job.settings)
    return weights_path(job.weights_dir, job.cell.dataset, job.cell.model, recipe, data_sha256)


def checkpoint_path(weights: Path) -> Path:
    """Return where an unfinished training of these weights is kept."""
    return weights.with_suffix(".checkpoint")


def stages_folder(weights: Path) -> Path:
    """Return where the stages of an unfinished training of these weights are kept."""
    return weights.with_suffix(".stages")


def discard_checkpoint(job: Job, data_sha256: str) -> None:
    """Delete what an interrupted run would go on from, once the cell's record is written."""
    weights = trained_weights_path(job, data_sha256)
    checkpoint_path(weights).unlink(missing_ok=True)
    shutil.rmtree(stages_folder(weights), ignore_errors=True)


def build_network(
    spec: ModelSpec, settings: Settings, num_classes: int, channels: int, pretrained: bool = False
) -> nn.Module:
    """Build a network for the settings' image size, its random parts from the settings' seed.

    Raises:
        RequestError: The network cannot take images of that size.
    """
    set_seed(settings.seed)
    return _resized(spec, settings, spec.build(num_classes, channels, pretrained))


def check_fit(settings: Settings, spec: ModelSpec, num_classes: int, channels: int) -> None:
    """Make sure that images can be preprocessed and run, without weights or real images.

    Raises:
        RequestError: The statistics do not fit the channels, or the network refuses the size.
    """
    preprocess = make_preprocess(settings, spec)
    preprocess(torch.zeros(1, channels, 8, 8, dtype=torch.uint8))
    try:
        _forward_once(settings, spec, num_classes, channels, "meta")
    except _DOES_NOT_RUN:
        # Some networks run on real tensors only: the last word is the CPU's.
        try:
            _forward_once(settings, spec, num_classes, channels, "cpu")
        except _DOES_NOT_RUN as error:
            size, reason = preprocess.image_size, _first_line(error)
            raise RequestError(f"image_size {size} does not fit {spec.label}: {reason}") from error


def _forward_once(
    settings: Settings, spec: ModelSpec, num_classes: int, channels: int, device: str
) -> None:
    size = settings.image_size or spec.image_size
    with torch.device(device), torch.inference_mode():
        network = build_network(spec, settings, num_classes, channels).to(device).eval()
        network(torch.zeros(1, channels, size, size))


def _resized(spec: ModelSpec, settings: Settings, network: nn.Module) -> nn.Module:
    size = settings.image_size or spec.image_size
    if size == spec.image_size or spec.resize is None:
        return network
    try:
        return spec.resize(network, size)
    except (AssertionError, ValueError) as error:
        raise RequestError(f"image_size {size} does not fit {spec.label}: {error}") from error


def _rebuild(
    spec: ModelSpec, settings: Settings, sidecar: Sidecar, channels: int, path: Path
) -> nn.Module:
    """Build the network that a sidecar describes."""
    if spec.rebuild is None:
        return build_network(spec, settings, sidecar.num_classes, channels)
    try:
        return spec.rebuild(sidecar.structure or {})
    except RequestError as error:
        raise RequestError(f"{path.with_suffix('.json')}: {error}") from error


def _published(job: Job, spec: ModelSpec, classes: int, channels: int) -> ReadyNetwork:
    if spec.load_published is not None:
        network, sha256 = spec.load_published(job, classes)
        return ReadyNetwork(network=network.eval(), origin="published", sha256=sha256)
    file = published_file(job.cell.dataset, job.cell.model)
    path = fetch_published(file, job.weights_dir, offline=job.offline, folder=job.published_dir)
    state = read_state(path)
    network = spec.build(classes, channels, False)
    load_state(network, spec.adapt_published(state) if spec.adapt_published else state, str(path))
    network = _resized(spec, job.settings, network)
    return ReadyNetwork(network=network.eval(), origin="published", sha256=file_sha256(path))


def _train(job: Job, spec: ModelSpec, data: ImageData, path: Path) -> tuple[nn.Module, Sidecar]:
    learn = _train_alike if spec.fit is None else _fit
    try:
        network, start, logs = learn(job, spec, data, path)
    except (RuntimeError, ValueError) as error:
        raise CellError(f"training broke: {type(error).__name__}: {_first_line(error)}") from error
    sidecar = Sidecar(
        dataset=job.cell.dataset,
        model=job.cell.model,
        num_classes=len(data.classes),
        image_size=job.settings.image_size or spec.image_size,
        recipe_hash=recipe_hash(job.settings),
        data_sha256=data.source.sha256,
        start=start,
        seed=job.settings.seed,
        threads=torch.get_num_threads(),
        device=job.cell.device,
        training_seconds=sum(log["seconds"] for log in logs),
        logs=logs,
        settings=dataclasses.asdict(job.settings.training),
        structure=spec.describe(network) if spec.describe else None,
    )
    return network, save_weights(path, network, sidecar)


Trained = tuple[nn.Module, str, list[dict[str, Any]]]
"""A network, what its weights started from, and a log of every epoch."""


def _train_alike(job: Job, spec: ModelSpec, data: ImageData, path: Path) -> Trained:
    """Train as most models are: one network, one recipe."""
    settings, device = job.settings, job.cell.device
    checkpoint = checkpoint_path(path)
    network, start = _start(job, spec, data, checkpoint)
    preprocess = make_preprocess(settings, spec)
    logs = train(
        network,
        ImageBatches(data.train, preprocess, settings.training, settings.seed, device),
        settings.training,
        device=device,
        checkpoint=checkpoint,
        checkpoint_seconds=60 * settings.checkpoint_minutes,
        start=start,
        title=str(job.cell),
    )
    return network, start, [dataclasses.asdict(log) for log in logs]


def _fit(job: Job, spec: ModelSpec, data: ImageData, path: Path) -> Trained:
    """Let a model train in its own way."""
    if spec.fit is None:
        raise RequestError(f"{spec.label} has no training of its own")
    stages = Stages(
        stages_folder(path),
        device=job.cell.device,
        checkpoint_seconds=60 * job.settings.checkpoint_minutes,
        title=str(job.cell),
    )
    fitting = Fitting(
        settings=job.settings,
        num_classes=len(data.classes),
        channels=data.channels,
        split=data.train,
        preprocess=make_preprocess(job.settings, spec),
        device=job.cell.device,
        stages=stages,
    )
    return spec.fit(fitting), "random", stages.logs


def _start(job: Job, spec: ModelSpec, data: ImageData, checkpoint: Path) -> tuple[nn.Module, str]:
    """Build the network to train, and say what its weights start from."""
    state = load_checkpoint(checkpoint)
    wanted = str(state["start"]) if state and "start" in state else job.settings.training.start
    sizes = (len(data.classes), data.channels)
    if state is None and wanted == "imagenet":
        return _build_pretrained(spec, job.settings, *sizes), "imagenet"
    if state is None and wanted == "auto" and spec.pretrained:
        try:
            return _build_pretrained(spec, job.settings, *sizes), "imagenet"
        except RequestError as error:
            logger.warning("%s: %s; training starts from random weights", job.cell, error)
    # A checkpoint brings all weights: no need to load what it will overwrite.
    start = "imagenet" if wanted == "imagenet" else "random"
    return build_network(spec, job.settings, *sizes), start


def _build_pretrained(
    spec: ModelSpec, settings: Settings, num_classes: int, channels: int
) -> nn.Module:
    if not spec.pretrained:
        raise RequestError(f"{spec.label} has no pre-trained weights")
    try:
        return build_network(spec, settings, num_classes, channels, pretrained=True)
    except OSError as error:
        raise RequestError(
            f"{spec.pretrained} weights of {spec.label} cannot be had ({_first_line(error)})"
        ) from error


def _check_classes(sidecar: Sidecar, classes: int, path: Path) -> None:
    if sidecar.num_classes != classes:
        raise RequestError(
            f"{path}: trained for {sidecar.num_classes} classes, the data has {classes}"
        )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
