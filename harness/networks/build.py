"""Building networks for a cell's settings, and checking that they take its images."""

from __future__ import annotations

import logging
from dataclasses import replace

import torch
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from harness.data.batches import batch_sizes, too_few_images
from harness.data.preprocess import Preprocess
from harness.errors import RequestError
from harness.measure.networks import inference
from harness.networks.freezing import check_layer_depths, freeze_backbone, freeze_layers
from harness.networks.hub import from_hub
from harness.networks.rehearsal import (
    check_logits,
    describe_failure,
    take_logits,
    try_training,
)
from harness.networks.small_stem import shrink_stem
from harness.settings import recipes
from harness.settings_spec import Settings
from harness.spec import ModelSpec
from harness.util.error_text import explain

logger = logging.getLogger(__name__)

# Without the meta device, a training step on more images would take long.
_REAL_IMAGES = 2


def make_preprocess(settings: Settings, spec: ModelSpec) -> Preprocess:
    """Return the preprocessing that turns stored images into network input under these settings."""
    return Preprocess(image_size=spec.input_size(settings), mean=settings.mean, std=settings.std)


def build_network(
    spec: ModelSpec, settings: Settings, num_classes: int, channels: int, pretrained: bool = False
) -> nn.Module:
    """Build a network for the settings; their seed decides its random parts.

    Raises:
        RequestError: `spec.build` returns no network, or one that cannot take images of that size,
            has too few layers to freeze, or none that could be its small stem.
    """
    set_seed(settings.seed)
    network = spec.build(num_classes, channels, pretrained)
    if not isinstance(network, nn.Module) or isinstance(network, torch.jit.ScriptModule):
        wrong = type(network).__name__
        raise RequestError(f"build must return an nn.Module, not TorchScript; it returned {wrong}")
    if settings.stem is not None:
        built_for = (channels, spec.image_size, spec.image_size)
        if shrink_stem(network, built_for, spec.input_size(settings)):
            spec = replace(spec, resize=None)
    if any(is_lazy(parameter) for parameter in network.parameters()):
        # Lazy layers get their shapes from a first image.
        size = spec.input_size(settings)
        with torch.no_grad():
            network.eval()(torch.zeros(1, channels, size, size))
    return adapted(spec, settings, network)


def build_pretrained(
    spec: ModelSpec, settings: Settings, num_classes: int, channels: int
) -> nn.Module:
    """Build a network as `build_network` does, with pre-trained weights.

    Raises:
        RequestError: There are no such weights, or they cannot be had.
    """
    if not spec.pretrained:
        raise RequestError(f"{spec.label} has no pre-trained weights")
    if settings.stem is not None:
        logger.warning(
            "%s: stem %s: the stem starts from random weights, all else from %s",
            *(spec.label, settings.stem, spec.pretrained),
        )
    with from_hub(f"{spec.pretrained} weights of {spec.label}"):
        return build_network(spec, settings, num_classes, channels, pretrained=True)


def check_fit(
    settings: Settings,
    spec: ModelSpec,
    num_classes: int,
    channels: int,
    train_images: int | None = None,
) -> None:
    """Make sure that a network takes the images, without weights or real images.

    `train_images` is their number if the network is to be trained the common way.

    Raises:
        RequestError: The statistics do not fit the channels, or the network cannot be built, run or
            trained on batches of the sizes that the settings lead to.
    """
    preprocess = make_preprocess(settings, spec)
    preprocess(torch.zeros(1, channels, 8, 8, dtype=torch.uint8))
    size = preprocess.image_size
    for device in ("meta", "cpu"):
        image = torch.zeros(1, channels, size, size, device=device)
        network = None
        try:
            with torch.device(device):
                network = build_network(spec, settings, num_classes, channels).to(device)
                with inference(network):
                    check_logits(network(image.clone()), image, num_classes, "evaluation")
        except RequestError as error:
            raise RequestError(f"{spec.label}: {error}") from error
        except Exception as error:
            # Some networks run on real tensors only, so what the meta device refuses the CPU tries.
            if device == "meta":
                continue
            stem = f" with stem {settings.stem}" if settings.stem else ""
            failed = "cannot be built" if network is None else "does not run"
            message = f"{spec.label} {failed} at image_size {size}{stem}: {explain(error)}"
            raise RequestError(message) from error
        if train_images is None:
            return
        with torch.device(device):
            failure = _find_failure(network, image, settings, spec, num_classes, train_images)
        if failure is None:
            return
        if device == "cpu" or failure.__cause__ is None:
            raise failure


def _find_failure(
    network: nn.Module,
    image: Tensor,
    settings: Settings,
    spec: ModelSpec,
    num_classes: int,
    train_images: int,
) -> RequestError | None:
    """Return why a network cannot be trained on batches of a size that a recipe leads to."""
    for name, recipe in recipes(settings).items():
        sizes = batch_sizes(train_images, recipe)
        if not sizes:
            return too_few_images(train_images, recipe, name)
        for size in sizes:
            few = size if image.is_meta else min(size, _REAL_IMAGES)
            images = image.expand(few, -1, -1, -1)
            try:
                try_training(network, images, num_classes)
            except RequestError as error:
                return RequestError(f"{spec.label}: {error}")
            except Exception as error:
                found = describe_failure(error, f"{spec.label}: a training step fails", images)
                if size != sizes[0]:
                    found = RequestError(
                        f"{found}; {train_images} training images leave a last part of {size}: "
                        f"choose another {name}.batch_size (now {recipe.batch_size}) or "
                        f"{name}.micro_batch_size, or {name}.drop_last=true"
                    )
                found.__cause__ = error
                return found
    return None


def adapted(spec: ModelSpec, settings: Settings, network: nn.Module) -> nn.Module:
    """Return a built network, resized for the settings' images and frozen as they say.

    Raises:
        RequestError: The network cannot take images of that size, or has too few layers to freeze
            or to train at rates of their own.
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
    if recipe.layer_decay is not None and spec.fit is None:
        check_layer_depths(network, spec.label)
    network.register_forward_hook(take_logits)
    return network
