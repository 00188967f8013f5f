"""Rehearsal of a training: all that can fail in it or after it is tried on a copy beforehand."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import safetensors.torch
import torch
from torch import Tensor, nn

from harness.errors import RequestError
from harness.jobs import Device
from harness.measure.networks import (
    copy_network,
    inference,
    laid_out,
    relative_difference,
    seeded_logits,
    takes_channels_last,
)
from harness.networks.rehearsal import STEPS, check_logits, describe_failure, try_training
from harness.networks.weights import load_state, state_to_save
from harness.settings_spec import TrainingSettings
from harness.training.loop import Batches
from harness.training.optimizers import make_optimizer
from harness.util.random_state import random_state, restore_random_state

logger = logging.getLogger(__name__)

# Logits of a network and of its saved weights: the same numbers, perhaps by other kernels.
_SAVED_TOLERANCE = 1e-3
_COMPARED_IMAGES = 2
# Logits of the same image, by other kernels or while observers still follow the activations.
_STEADY_TOLERANCE = 0.05
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def rehearse(
    network: nn.Module,
    batches: Batches,
    recipe: TrainingSettings,
    *,
    device: Device,
    num_classes: int,
    build: Callable[[], nn.Module],
) -> bool:
    """Train a copy of a network for two steps, evaluate it, and save and load its weights.

    No random number of the training is used up, and the network is not changed. `build` makes the
    same network, with any weights.

    Returns:
        Whether the network can be trained with its images channels last in memory.

    Raises:
        RequestError: Something failed; it says what.
    """
    before = random_state()
    images = next(iter(batches.epoch(1, 0)))[0][: recipe.micro_batch_size or recipe.batch_size]
    if images.ndim == 4:
        images = laid_out(images, torch.contiguous_format)
    try:
        turned, trained = _try_layouts(network, images, recipe, device, num_classes)
        evaluated = trained.to(memory_format=torch.contiguous_format)
        with inference(evaluated):
            together, alone, again = (
                check_logits(evaluated(batch.clone()), batch, num_classes, "evaluation", STEPS)
                for batch in (images, images[:1], images[:1])
            )
        _warn_of_unsteady(together[:1], alone, again)
        saved = safetensors.torch.load(safetensors.torch.save(state_to_save(trained)))
        made = build()
        load_state(made, saved, "rehearsal")
        check_same(made, trained.to("cpu"), images.cpu())
    except Exception as error:
        raise describe_failure(error, "rehearsal of training", images) from error
    finally:
        restore_random_state(before)
    return turned


def _warn_of_unsteady(together: Tensor, alone: Tensor, again: Tensor) -> None:
    """Warn if the logits 1×K of an image, in a batch and twice alone, are not the same."""
    if relative_difference(again, alone) > _STEADY_TOLERANCE:
        logger.warning(
            "logits of one image differ from call to call in evaluation mode (dropout that is "
            "always on?): accuracy is that of one call for each image"
        )
    elif relative_difference(together, alone) > _STEADY_TOLERANCE:
        logger.warning(
            "logits of an image depend on the other images of its batch in evaluation mode: "
            "accuracy is that of batches of evaluation.batch_size images"
        )


def _try_layouts(
    network: nn.Module, images: Tensor, recipe: TrainingSettings, device: Device, num_classes: int
) -> tuple[bool, nn.Module]:
    """Return whether training with channels last works, and the copy that was trained."""
    turned = recipe.channels_last and trains_channels_last(network, images, device)
    layout = torch.channels_last if turned else torch.contiguous_format
    trained = copy_network(network).to(device).to(memory_format=layout)
    dtype = _AUTOCAST.get(recipe.precision)
    laid = laid_out(images, layout) if images.ndim == 4 else images
    try:
        with torch.autocast(device, dtype, enabled=dtype is not None):
            try_training(trained, laid, num_classes, make_optimizer(trained, recipe))
    except Exception:
        if not turned:
            raise
        contiguous = replace(recipe, channels_last=False)
        return _try_layouts(network, images, contiguous, device, num_classes)
    return turned, trained


def trains_channels_last(network: nn.Module, images: Tensor, device: Device) -> bool:
    """Whether a network computes the same on a device of N×C×H×W images that lie channels last."""
    return images.ndim == 4 and takes_channels_last(copy_network(network).to(device), images)


def check_same(loaded: nn.Module, network: nn.Module, images: Tensor) -> None:
    """Make sure that a network with loaded weights computes what the one does that was saved.

    All is on the CPU; some of the images N×C×H×W are used. A network whose logits depend on the
    calls before them cannot be compared.

    Raises:
        RequestError: It does not.
    """
    images = images[:_COMPARED_IMAGES]
    expected = seeded_logits(network, images)
    if not torch.equal(expected, seeded_logits(network, images)):
        logger.warning("logits depend on the calls before: saved weights cannot be compared")
        return
    difference = relative_difference(seeded_logits(loaded, images), expected)
    if difference > _SAVED_TOLERANCE:
        raise RequestError(
            f"after saving and loading, logits differ by {difference:.2g} of the largest: they "
            "depend on more than the parameters and buffers that are saved"
        )
