"""Networks with weights: trained now, loaded, published, pre-trained or random."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from harness.catalog import load_model
from harness.data.loading import ImageData
from harness.errors import CellError, RequestError
from harness.jobs import Job
from harness.networks.build import adapted, build_network, build_pretrained
from harness.networks.published import fetch_published, published_file, read_state
from harness.networks.weights import (
    Sidecar,
    base_job,
    checkpoint_path,
    fell_back,
    load_state,
    load_weights,
    read_sidecar,
    stages_folder,
    tracking_path,
    trained_weights_path,
    unfinished_path,
    with_start,
)
from harness.run.accuracy import measure_accuracy
from harness.run.together import learn_together
from harness.settings_spec import Settings
from harness.spec import ModelSpec, StateDict
from harness.training.checkpoints import delete_checkpoint
from harness.training.fit import learn
from harness.training.stages import Base
from harness.training.tracker import UNTRACKED, Tracker
from harness.util.files import file_sha256

logger = logging.getLogger(__name__)


Origin = Literal["trained", "published", "imagenet", "random"]


@dataclass(frozen=True, kw_only=True)
class ReadyNetwork:
    """A network to measure, and the origin of its weights.

    Attributes:
        network: The network, on the CPU, in evaluation mode.
        origin: trained, published, imagenet or random.
        sha256: Digest of the weights file; None if there is no file.
        sidecar: How the weights were trained; None if they were not trained here.
    """

    network: nn.Module
    origin: Origin
    sha256: str | None = None
    sidecar: Sidecar | None = None


def ready_network(
    job: Job, spec: ModelSpec, data: ImageData, tracker: Tracker = UNTRACKED
) -> ReadyNetwork:
    """Return the cell's network with the weights that the job asks for.

    If the network is trained, the tracker receives every epoch.

    Raises:
        RequestError: The weights are not available or do not fit.
        CellError: Training failed.
    """
    choice, classes = job.settings.weights, len(data.classes)
    if choice == "published":
        return _published(job, spec, classes, data.channels)
    if choice in ("imagenet", "random"):
        build = build_pretrained if choice == "imagenet" else build_network
        network = build(spec, job.settings, classes, data.channels).eval()
        if spec.compress is not None:
            network = spec.compress(network, job.settings, data.channels)
        return ReadyNetwork(network=network, origin=choice)
    network, sidecar = _trained(job, spec, data, tracker)
    return ReadyNetwork(network=network, origin="trained", sha256=sidecar.sha256, sidecar=sidecar)


def discard_checkpoint(job: Job, data_sha256: str) -> None:
    """Delete the files from which an interrupted run of the cell would continue."""
    weights = unfinished_path(job, data_sha256)
    delete_checkpoint(checkpoint_path(weights))
    tracking_path(weights).unlink(missing_ok=True)
    shutil.rmtree(stages_folder(weights), ignore_errors=True)


def _trained(
    job: Job, spec: ModelSpec, data: ImageData, tracker: Tracker = UNTRACKED
) -> tuple[nn.Module, Sidecar]:
    """Load the trained weights of a job, or train them."""
    path = trained_weights_path(job, data.source.sha256)
    sidecar = read_sidecar(path) if job.settings.weights == "auto" else None
    if sidecar is None or _can_start_better(job, spec, data, sidecar):
        return _learn(job, spec, data, tracker)
    return _load(job, spec, data, path, sidecar), sidecar


def _learn(
    job: Job, spec: ModelSpec, data: ImageData, tracker: Tracker
) -> tuple[nn.Module, Sidecar]:
    """Train the network of a job, in this process or in several others."""
    base = _ready_base(job, spec, data) if spec.base else None
    if spec.fit is not None or job.settings.training.processes == 1:
        path = unfinished_path(job, data.source.sha256)
        network, sidecar = learn(job, spec, data, path, tracker, base)
        return network.eval(), sidecar
    job = with_start(job, learn_together(job, tracker))
    path = unfinished_path(job, data.source.sha256)
    found = read_sidecar(path)
    if found is None:
        raise CellError(f"{path}: training ended without it")
    return _load(job, spec, data, path, found), found


def _load(job: Job, spec: ModelSpec, data: ImageData, path: Path, sidecar: Sidecar) -> nn.Module:
    """Load trained weights into the network of a job."""
    classes = len(data.classes)
    if sidecar.num_classes != classes:
        raise RequestError(
            f"{path}: trained for {sidecar.num_classes} classes, the data has {classes}"
        )
    network = _rebuild(spec, job.settings, sidecar, data.channels, path)
    load_weights(path, network, sidecar)
    logger.info("%s: weights loaded from %s", job.cell, path)
    return network.eval()


def _can_start_better(job: Job, spec: ModelSpec, data: ImageData, sidecar: Sidecar) -> bool:
    """Whether ImageNet weights can be had now that could not when these weights were trained."""
    start = load_model(spec.base) if spec.base else spec
    if not fell_back(job, start, sidecar):
        return False
    try:
        build_pretrained(start, job.settings, len(data.classes), data.channels)
    except RequestError as error:
        logger.warning("%s: %s; weights trained from random ones are used", job.cell, error)
        return False
    return True


def _ready_base(job: Job, spec: ModelSpec, data: ImageData) -> Base:
    """Load or train the network of a compressed model's base."""
    first, base_spec = base_job(job, spec), load_model(spec.base)
    before = read_sidecar(trained_weights_path(first, data.source.sha256))
    if before is None:
        if spec.compress is not None:
            # A network that cannot be compressed must fail before it is trained.
            rehearsal = build_network(spec, job.settings, len(data.classes), data.channels)
            spec.compress(rehearsal.eval(), job.settings, data.channels)
        logger.info("%s: there are no weights of %s yet: they are trained first", job, first.cell)
    network, sidecar = _trained(first, base_spec, data)
    if before is None or before.sha256 != sidecar.sha256:
        discard_checkpoint(first, data.source.sha256)

    def accuracy(network: nn.Module) -> float:
        measured, _ = measure_accuracy(network.to(job.cell.device), job, spec, data)
        network.to("cpu")
        return measured.accuracy_top1

    return Base(name=spec.base, network=network, sidecar=sidecar, accuracy=accuracy)


def _rebuild(
    spec: ModelSpec, settings: Settings, sidecar: Sidecar, channels: int, path: Path
) -> nn.Module:
    """Build the network that a sidecar describes."""

    def make() -> nn.Module:
        return build_network(spec, settings, sidecar.num_classes, channels)

    if spec.rebuild is None:
        return make()
    try:
        return spec.rebuild(sidecar.structure or {}, make)
    except RequestError as error:
        raise RequestError(f"{path.with_suffix('.json')}: {error}") from error


def _published(job: Job, spec: ModelSpec, classes: int, channels: int) -> ReadyNetwork:
    if spec.load_published is not None:
        network, sha256 = spec.load_published(job, classes)
        return ReadyNetwork(network=network.eval(), origin="published", sha256=sha256)
    state, path = read_published(job, spec)
    network = spec.build(classes, channels, False)
    if spec.published_form is not None:
        network = spec.published_form(network, lambda: state)
    load_state(network, state, str(path))
    network = adapted(spec, job.settings, network)
    return ReadyNetwork(network=network.eval(), origin="published", sha256=file_sha256(path))


def read_published(job: Job, spec: ModelSpec) -> tuple[StateDict, Path]:
    """Return the published state dict of a job's cell under the keys of ours, and its file.

    Raises:
        RequestError: None was published, it cannot be had, or it cannot be read.
    """
    file = published_file(job.cell.dataset, job.cell.model)
    path = fetch_published(file, job.weights_dir, offline=job.offline, folder=job.published_dir)
    state = read_state(path)
    return spec.adapt_published(state) if spec.adapt_published else state, path
