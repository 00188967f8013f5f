"""The duration of a training step, measured on a few random images before anything is trained."""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from torch import nn

from harness.jobs import Device
from harness.measure.conditions import fp32_precision
from harness.networks.rehearsal import describe_failure
from harness.settings_spec import TrainingSettings
from harness.training.steps import Steps

# Two batch sizes tell the time of a step apart from that of its images.
_SMALL, _LARGE = 2, 8
# Steps of this length are timed once, and with a small batch alone.
_LONG_SECONDS, _MOST_STEPS = 2.0, 3


def measure_step_seconds(
    network: nn.Module, settings: TrainingSettings, device: Device, shape: tuple[int, int, int]
) -> float:
    """Estimate the seconds that one training step takes, without the loading of its images.

    A step takes a + b · N for a batch of N: a is what does not depend on the images (launching
    kernels, updating weights), b the work on one image. Steps on two small batches give both, on
    a CPU as on a GPU. Where a GPU hides its work on small batches behind launches, b is only an
    upper bound of what is hidden, so the estimate is that of a launch-bound network.

    The new network is moved to the device, where training will run, and its weights change; nothing
    is compiled. `shape` is C, H and W of an image.

    Raises:
        RequestError: A step failed; it says on how many images.
    """
    recipe = replace(settings, compile=None, micro_batch_size=None)
    steps = Steps(network.train(), recipe, device, steps_per_epoch=2 * _MOST_STEPS)

    def seconds(batch: int) -> float:
        images = torch.rand(batch, *shape, device=device)
        labels = torch.zeros(batch, dtype=torch.long, device=device)
        times: list[float] = []
        # The first step allocates memory and chooses algorithms, so it does not count.
        while len(times) < 2 or (len(times) < _MOST_STEPS and times[-1] < _LONG_SECONDS):
            start = time.perf_counter()
            try:
                loss, _ = steps.take(images, labels, batch)
            except Exception as error:
                raise describe_failure(error, "a training step", images) from error
            loss.item()  # waits for the device
            times.append(time.perf_counter() - start)
        return min(times[1:])

    size = settings.batch_size
    with fp32_precision("tf32" if settings.precision == "tf32" else "ieee"):
        small = seconds(_SMALL)
        if small > _LONG_SECONDS:
            return small * size / _SMALL
        each = max(seconds(_LARGE) - small, 0.0) / (_LARGE - _SMALL)
    return small + (size - _SMALL) * each
