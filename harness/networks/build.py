"""Building networks for a cell's settings, and checking that they take its images."""

from __future__ import annotations

import torch
from accelerate.utils import set_seed
from torch import nn

from harness.data.preprocess import Preprocess
from harness.errors import RequestError
from harness.networks.freezing import freeze_backbone, freeze_layers
from harness.networks.hub import first_line, from_hub
from harness.settings_spec import Settings
from harness.spec import ModelSpec

# What a network raises that refuses an image, or cannot run on a device without data.
_DOES_NOT_RUN = (AssertionError, RuntimeError, TypeError, ValueError)


def make_preprocess(settings: Settings, spec: ModelSpec) -> Preprocess:
    """Return the preprocessing that turns stored images into network input under these settings."""
    return Preprocess(image_size=spec.input_size(settings), mean=settings.mean, std=settings.std)


def build_network(
    spec: ModelSpec, settings: Settings, num_classes: int, channels: int, pretrained: bool = False
) -> nn.Module:
    """Build a network for the settings; their seed decides its random parts.

    Raises:
        RequestError: The network cannot take images of that size, or has too few layers to freeze.
    """
    set_seed(settings.seed)
    return adapted(spec, settings, spec.build(num_classes, channels, pretrained))


def build_pretrained(
    spec: ModelSpec, settings: Settings, num_classes: int, channels: int
) -> nn.Module:
    """Build a network as `build_network` does, with pre-trained weights.

    Raises:
        RequestError: There are no such weights, or they cannot be had.
    """
    if not spec.pretrained:
        raise RequestError(f"{spec.label} has no pre-trained weights")
    with from_hub(f"{spec.pretrained} weights of {spec.label}"):
        return build_network(spec, settings, num_classes, channels, pretrained=True)


def check_fit(settings: Settings, spec: ModelSpec, num_classes: int, channels: int) -> None:
    """Make sure that images can be preprocessed and run, without weights or real images.

    Raises:
        RequestError: The statistics do not fit the channels, the network refuses the size, or it
            has too few layers to freeze.
    """
    preprocess = make_preprocess(settings, spec)
    preprocess(torch.zeros(1, channels, 8, 8, dtype=torch.uint8))
    size = preprocess.image_size
    for device in ("meta", "cpu"):
        try:
            with torch.device(device), torch.inference_mode():
                network = build_network(spec, settings, num_classes, channels).to(device).eval()
                network(torch.zeros(1, channels, size, size))
        except _DOES_NOT_RUN as error:
            # Some networks run on real tensors only, so what the meta device refuses the CPU tries.
            if device == "cpu":
                reason = first_line(error)
                message = f"image_size {size} does not fit {spec.label}: {reason}"
                raise RequestError(message) from error
        else:
            return


def adapted(spec: ModelSpec, settings: Settings, network: nn.Module) -> nn.Module:
    """Return a built network, resized for the settings' images and frozen as they say.

    Raises:
        RequestError: The network cannot take images of that size, or has too few layers to freeze.
    """
    size, recipe = spec.input_size(settings), settings.training
    if size != spec.image_size and spec.resize is not None:
        try:
            network = spec.resize(network, size)
        except (AssertionError, ValueError) as error:
            raise RequestError(f"image_size {size} does not fit {spec.label}: {error}") from error
    if recipe.freeze_backbone:
        freeze_backbone(network, spec.label)
    elif recipe.freeze_layers:
        freeze_layers(network, recipe.freeze_layers, spec.label)
    return network
