"""The duration of a training step, measured on a few random images before anything is trained."""

from __future__ import annotations

import time

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from harness.jobs import Device
from harness.measure.conditions import fp32_precision
from harness.settings_spec import TrainingSettings
from harness.training.optimizers import make_optimizer

# Two batch sizes tell the time of a step apart from that of its images.
_SMALL, _LARGE = 2, 8
# Steps of this length are timed once, and with a small batch alone.
_LONG_SECONDS = 2.0


def measure_step_seconds(
    network: nn.Module, settings: TrainingSettings, device: Device, shape: tuple[int, int, int]
) -> float:
    """Estimate the seconds that one training step takes, without the loading of its images.

    A step takes a + b · N for a batch of N: a is what does not depend on the images (launching
    kernels, updating weights), b the work on one image. Steps on two small batches give both, on
    a CPU as on a GPU. Where a GPU hides its work on small batches behind launches, b is only an
    upper bound of what is hidden, so the estimate is that of a launch-bound network.

    Args:
        network: A new network; it is moved to the device and its weights change.
        settings: The recipe.
        device: Where training will run.
        shape: C, H and W of an image.
    """
    network.to(device).train()
    if settings.channels_last:
        network.to(memory_format=torch.channels_last)
    optimizer = make_optimizer(network, settings)
    precision = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(settings.precision)

    def seconds(batch: int) -> float:
        images = torch.rand(batch, *shape, device=device)
        if settings.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        labels = torch.zeros(batch, dtype=torch.long, device=device)
        times: list[float] = []
        # The first step allocates memory and chooses algorithms, so it does not count.
        while len(times) < 2 or (len(times) < 3 and times[-1] < _LONG_SECONDS):
            start = time.perf_counter()
            optimizer.zero_grad()
            with torch.autocast(device, precision, enabled=precision is not None):
                loss = cross_entropy(network(images), labels)
            torch.autograd.backward(loss)
            optimizer.step()
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
