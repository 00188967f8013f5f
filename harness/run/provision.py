"""Networks with weights: trained now, loaded, published, pre-trained or random."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from torch import nn

from harness.catalog import load_model
from harness.data.loading import ImageData
from harness.errors import CellError, RequestError
from harness.jobs import Job
from harness.networks.adapter import follow_paths
from harness.networks.build import adapted, build_network, build_pretrained, make_preprocess
from harness.networks.published import fetch_published, published_file, read_state
from harness.networks.weights import Sidecar, load_state, load_weights, read_sidecar, state_to_save
from harness.networks.weights_files import (
    base_job,
    checkpoint_path,
    fell_back,
    stages_folder,
    tracking_path,
    trained_weights_path,
    unfinished_path,
    with_start,
)
from harness.run.accuracy import measure_accuracy
from harness.run.together import learn_together
from harness.spec import ModelSpec, StateDict
from harness.training.checkpoints import delete_checkpoint
from harness.training.fit import learn
from harness.training.rehearsal import check_same
from harness.training.stages import Base
from harness.training.tracker import UNTRACKED, Tracker
from harness.util.error_text import describe_error
from harness.util.files import file_sha256
from harness.util.locks import shared_lock

logger = logging.getLogger(__name__)

# What building a network may raise whose description has been altered.
_NO_STRUCTURE = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)

Origin = Literal["trained", "published", "imagenet", "random"]


@dataclass(frozen=True, kw_only=True)
class ReadyNetwork:
    """A network to measure, on the CPU in evaluation mode, and the origin of its weights.

    Attributes:
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
    """Return the cell's network with the weights that the job asks for; training is tracked.

    A tree of networks follows as many paths as the settings of the evaluation say.

    A RequestError says that the weights are not available or do not fit, a CellError that training
    failed.
    """
    ready, evaluation = _ready(job, spec, data, tracker), job.settings.evaluation
    network = follow_paths(ready.network, evaluation.beam, evaluation.beam_threshold)
    return dataclasses.replace(ready, network=network)


def _ready(job: Job, spec: ModelSpec, data: ImageData, tracker: Tracker) -> ReadyNetwork:
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
    sidecar = _find_usable(job, spec, data)
    if sidecar is None:
        path = unfinished_path(job, data.source.sha256)
        on_wait = partial(logger.warning, "%s: waits for another training of it", job)
        with shared_lock(path.with_name(f".{path.name}.lock"), on_wait):
            # The process that held the lock may have trained them.
            sidecar = _find_usable(job, spec, data)
            if sidecar is None:
                return _learn(job, spec, data, tracker)
    path = trained_weights_path(job, data.source.sha256)
    return _load(job, spec, data, path, sidecar), sidecar


def _learn(
    job: Job, spec: ModelSpec, data: ImageData, tracker: Tracker
) -> tuple[nn.Module, Sidecar]:
    """Train the network of a job, in this process or in several others."""
    base = _ready_base(job, spec, data) if spec.base else None
    if spec.fit is not None or job.settings.training.processes == 1:
        path = unfinished_path(job, data.source.sha256)
        network, sidecar = learn(job, spec, data, path, tracker, base)
        _check_saved(job, spec, data, network.eval(), sidecar)
        return network, sidecar
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
    if sidecar.channels not in (None, data.channels):
        raise RequestError(
            f"{path}: trained on {sidecar.channels} channel(s), the images have {data.channels}"
        )
    network = _rebuild(job, spec, data, path, sidecar)
    logger.info("%s: weights loaded from %s", job.cell, path)
    return network


def _find_usable(job: Job, spec: ModelSpec, data: ImageData) -> Sidecar | None:
    """Return the sidecar of the weights that the job asks for; None where they must be trained."""
    if job.settings.weights != "auto":
        return None
    sidecar = read_sidecar(trained_weights_path(job, data.source.sha256))
    start = load_model(spec.base) if spec.base else spec
    if sidecar is None or not fell_back(job, start, sidecar):
        return sidecar
    try:
        build_pretrained(start, job.settings, len(data.classes), data.channels)
    except RequestError as error:
        logger.warning("%s: %s; weights trained from random ones are used", job.cell, error)
        return sidecar
    # ImageNet weights can be had now that could not when these weights were trained.
    return None


def _check_saved(
    job: Job, spec: ModelSpec, data: ImageData, network: nn.Module, sidecar: Sidecar
) -> None:
    """Compare the logits of saved weights with the network's; delete the files if they differ."""
    if job.settings.training.start == "auto":
        job = with_start(job, sidecar.real_start)
    path = unfinished_path(job, data.source.sha256)
    images = make_preprocess(job.settings, spec)(next(data.test.batches(None, 2))[0])
    try:
        check_same(_rebuild(job, spec, data, path, sidecar), network, images)
    except Exception as error:
        for file in (path, path.with_suffix(".json")):
            file.unlink(missing_ok=True)
        raise CellError(f"saved weights: {describe_error(error)}") from error


def _ready_base(job: Job, spec: ModelSpec, data: ImageData) -> Base:
    """Load or train the network of a compressed model's base."""
    first, base_spec = base_job(job, spec), load_model(spec.base)
    before = read_sidecar(trained_weights_path(first, data.source.sha256))
    if before is None:
        _rehearse_compression(job, spec, data)
        logger.info("%s: there are no weights of %s yet: they are trained first", job, first.cell)
    network, sidecar = _trained(first, base_spec, data)
    if before is None or before.sha256 != sidecar.sha256:
        discard_checkpoint(first, data.source.sha256)

    # Where the base was trained: on a GPU, and as in the record of its own cell.
    cell = dataclasses.replace(job.cell, device=job.training_device)
    there = dataclasses.replace(job, cell=cell)

    def accuracy(network: nn.Module) -> float:
        measured, _ = measure_accuracy(network.to(cell.device), there, spec, data)
        network.to("cpu")
        return measured.accuracy_top1

    return Base(name=spec.base, network=network, sidecar=sidecar, accuracy=accuracy)


def _rehearse_compression(job: Job, spec: ModelSpec, data: ImageData) -> None:
    """Refuse a base that cannot be compressed, or not be saved and loaded afterwards."""
    if spec.compress is None or spec.describe is None or spec.rebuild is None:
        return

    def make() -> nn.Module:
        return build_network(spec, job.settings, len(data.classes), data.channels).eval()

    compressed = spec.compress(make(), job.settings, data.channels).eval()
    again = spec.rebuild(spec.describe(compressed, make), make)
    load_state(again, state_to_save(compressed), spec.label)
    images = make_preprocess(job.settings, spec)(next(data.train.batches(None, 2))[0])
    check_same(again.eval(), compressed, images)


def _rebuild(job: Job, spec: ModelSpec, data: ImageData, path: Path, sidecar: Sidecar) -> nn.Module:
    """Build the network that a sidecar describes, with its weights."""
    make = partial(build_network, spec, job.settings, len(data.classes), data.channels)
    if spec.rebuild is None:
        network = make()
    else:
        where = path.with_suffix(".json")
        try:
            network = spec.rebuild(sidecar.structure or {}, make)
        except RequestError as error:
            raise RequestError(f"{where}: {error}") from error
        except _NO_STRUCTURE as error:
            raise RequestError(f"{where}: structure: {describe_error(error)}") from error
    load_weights(path, network, sidecar)
    return network.eval()


def _published(job: Job, spec: ModelSpec, classes: int, channels: int) -> ReadyNetwork:
    if spec.load_published is not None:
        network, sha256 = spec.load_published(job, classes)
    else:
        state, path = read_published(job, spec)
        network, sha256 = spec.build(classes, channels, False), file_sha256(path)
        if spec.published_form is not None:
            network = spec.published_form(network, lambda: state)
        load_state(network, state, str(path))
        network = adapted(spec, job.settings, network)
    return ReadyNetwork(network=network.eval(), origin="published", sha256=sha256)


def read_published(job: Job, spec: ModelSpec) -> tuple[StateDict, Path]:
    """Return the published weights of a cell under the keys of ours, and their file."""
    file = published_file(job.cell.dataset, job.cell.model)
    path = fetch_published(file, job.weights_dir, offline=job.offline, folder=job.published_dir)
    state = read_state(path)
    return spec.adapt_published(state) if spec.adapt_published else state, path
