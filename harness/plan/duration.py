"""Rough estimate, before anything runs, of the duration of a cell."""

from __future__ import annotations

from dataclasses import replace

from harness.errors import RequestError
from harness.measure.conditions import set_threads
from harness.networks.build import build_network
from harness.plan.cells import Planned
from harness.settings_spec import Settings, TrainingSettings
from harness.training.timing import measure_step_seconds

_MEASURING_SECONDS = 40.0


def rough_seconds(planned: Planned) -> float:
    """Estimate the duration of a planned cell in seconds.

    It follows the seconds of the last epoch (or of all, if the model trains in its own way) where
    the cell was trained before at this image size. Else a few training steps are timed.

    Raises:
        RequestError: The network cannot be trained.
    """
    if planned.action in ("done", "unsupported"):
        return 0.0
    if planned.action == "measure":
        return _MEASURING_SECONDS
    before = _training_seconds(planned.first) if planned.first else 0.0
    return before + _training_seconds(planned) + _MEASURING_SECONDS


def _training_seconds(planned: Planned) -> float:
    settings, record = planned.job.settings, planned.record
    epochs, size = count_epochs(settings), planned.spec.input_size(settings)
    if record is not None and record.weights.history and record.settings.image_size == size:
        seconds = [entry.seconds for entry in record.weights.history]
        return sum(seconds) if planned.spec.fit is not None else epochs * seconds[-1]
    set_threads(settings.threads)
    try:
        step = _step_seconds(planned, settings.training)
    except RequestError:
        # Some networks take only images that are contiguous in memory; training notices, too.
        step = _step_seconds(planned, replace(settings.training, channels_last=False))
    return step * epochs * planned.n_train / settings.training.batch_size


def _step_seconds(planned: Planned, training: TrainingSettings) -> float:
    spec, settings, channels = planned.spec, planned.job.settings, planned.channels
    network, size = build_network(spec, settings, 10, channels), spec.input_size(settings)
    device = planned.job.training_device
    try:
        return measure_step_seconds(network, training, device, (channels, size, size))
    except RequestError as error:
        raise RequestError(f"{spec.label}: {error}") from error


def count_epochs(settings: Settings) -> int:
    """Return how often training sees each image, summed over the levels of a tree.

    The epochs of a compressed model's base are not included.
    """
    compression, tree = settings.quantization or settings.pruning, settings.tree
    if settings.quantization is not None and settings.quantization.calibration_images is not None:
        return 0
    if compression is not None:
        return compression.training.epochs
    if tree is None:
        return settings.training.epochs
    below = tree.class_below or settings.training
    stages = [settings.training, tree.grouping, below]
    if tree.joint is not None:
        stages.append(tree.joint)
        if tree.has_teacher:
            stages.append(tree.teacher or tree.joint)
    return sum(stage.epochs for stage in stages)
