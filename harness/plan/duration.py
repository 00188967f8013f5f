"""Rough estimate, before anything runs, of the duration of a cell."""

from __future__ import annotations

import math
import time

import torch

from harness.errors import CellError
from harness.measure.operations import count_macs
from harness.networks.build import build_network
from harness.plan.cells import Planned
from harness.settings_spec import Settings

# Forward and backward pass are about three forward passes.
_TRAINING_FACTOR = 3
# Rough guess at the share of the matrix-product speed that whole networks reach.
_USUAL_EFFICIENCY = 0.5
_MEASURING_SECONDS = 40.0


def rough_seconds(planned: Planned) -> float:
    """Estimate the duration of a planned cell in seconds.

    If the cell was trained before at this image size, the estimate follows the seconds of its last
    epoch (or of all epochs, if the model has its own way of training). Otherwise it follows the
    multiply-accumulates of the training images and the speed of a short matrix product; where
    those cannot be counted, it is NaN.
    """
    if planned.action in ("done", "unsupported"):
        return 0.0
    if planned.action == "measure":
        return _MEASURING_SECONDS
    before = _training_seconds(planned.first) if planned.first else 0.0
    return before + _training_seconds(planned) + _MEASURING_SECONDS


def _training_seconds(planned: Planned) -> float:
    settings, record = planned.job.settings, planned.record
    epochs, size = _count_epochs(settings), planned.spec.input_size(settings)
    if record is not None and record.weights.history and record.settings.image_size == size:
        seconds = [entry.seconds for entry in record.weights.history]
        return sum(seconds) if planned.spec.fit is not None else epochs * seconds[-1]
    with torch.device("meta"):
        network = build_network(planned.spec, settings, 10, planned.channels)
    try:
        macs = count_macs(network, torch.empty(1, planned.channels, size, size))
    except CellError:
        return math.nan
    work = _TRAINING_FACTOR * macs * planned.n_train * epochs
    return work / (_USUAL_EFFICIENCY * _macs_per_second(planned))


def _count_epochs(settings: Settings) -> int:
    """Return how often training sees each image, summed over the levels of a tree.

    The epochs of a compressed model's base are not included.
    """
    compression, tree = settings.quantization or settings.pruning, settings.tree
    if compression is not None:
        return compression.training.epochs
    if tree is None:
        return settings.training.epochs
    below = tree.class_below or settings.training
    joint = tree.joint.epochs if tree.joint else 0
    return settings.training.epochs + tree.grouping.epochs + below.epochs + joint


def describe_seconds(seconds: float) -> str:
    """Return a time with one or two digits, as it is a rough estimate; NaN is unknown."""
    if math.isnan(seconds):
        return "unknown"
    if seconds == 0:
        return "none"
    if seconds < 90:
        return f"about {round(seconds, -1):.0f} s"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.0f} h"


def _macs_per_second(planned: Planned, side: int = 1024) -> float:
    """Time a few matrix products on the device and in the precision of the training."""
    low_precision = planned.job.settings.training.precision == "bf16"
    dtype, device = torch.bfloat16 if low_precision else torch.float32, planned.job.cell.device
    matrix = torch.rand(side, side, device=device).to(dtype)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        (matrix @ matrix).sum().item()  # asking for the number waits for a GPU
        seconds.append(time.perf_counter() - start)
    return side**3 / min(seconds)
