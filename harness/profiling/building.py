"""Networks built for counting: on the meta device, so without weights and without memory."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from harness.catalog import load_model
from harness.errors import CellError, RequestError
from harness.networks.adapter import adapt
from harness.profiling.names import ModelName, Source, hf_classes
from harness.util.error_text import describe_error

# For models whose library names no image size: what image classifiers are compared at.
_USUAL_IMAGE_SIZE = 224


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What networks are built for.

    Attributes:
        image_size: Side of the square images, in pixels; None: what each model was made for.
        channels: Of the images.
        classes: Number of logits.
    """

    image_size: int | None
    channels: int
    classes: int


@dataclass(frozen=True, kw_only=True)
class Built:
    """A network without weights.

    Attributes:
        network: On the meta device, in evaluation mode.
        image_size: Side of the square images that it is to be run on.
    """

    network: nn.Module
    image_size: int


def build(name: ModelName, wanted: Wanted) -> Built:
    """Build a model on the meta device.

    Raises:
        CellError: Its library cannot build it, or not for such images.
    """
    try:
        with _quiet():
            built = _on_meta(lambda: _BUILDERS[name.source](name.name, wanted))
    except RequestError as error:
        raise CellError(str(error)) from error
    except Exception as error:
        raise CellError(f"cannot be built: {describe_error(error)}") from error
    _fit_channels(built.network, wanted.channels)
    return Built(network=built.network.to("meta").eval(), image_size=built.image_size)


def _on_meta(make: Callable[[], Built]) -> Built:
    """Build with every tensor on the meta device, or where that fails, only the parameters."""
    try:
        with torch.device("meta"):
            return make()
    except (NotImplementedError, RuntimeError):
        # torchvision's RegNets compute with tensors while they are built.
        from accelerate import init_empty_weights

        with init_empty_weights():
            return make()


def _build_ours(name: str, wanted: Wanted) -> Built:
    spec = load_model(name)
    if spec.compress is not None:
        raise RequestError(
            f"{spec.label} is made of a trained network, so its graph is not known before: count "
            f"ours:{spec.base}"
        )
    network = spec.build(wanted.classes, wanted.channels, False)
    if adapt(network).paths:
        raise RequestError(
            f"{spec.label} sends images different ways, so it has no one graph: comparisons.py "
            "counts each way"
        )
    size = wanted.image_size or spec.image_size
    if size != spec.image_size and spec.resize is not None:
        network = spec.resize(network, size)
    return Built(network=network, image_size=size)


def _build_torchvision(name: str, wanted: Wanted) -> Built:
    import torchvision

    size = wanted.image_size
    if size is None:
        size = torchvision.models.get_model_weights(name).DEFAULT.transforms().crop_size[0]
    options: dict[str, Any] = {}
    if name.startswith("vit_"):
        options["image_size"] = size
    elif name.startswith("maxvit_"):
        options["input_size"] = (size, size)
    elif name == "googlenet":
        # As it is with weights: what helped to train it is gone.
        options["aux_logits"] = False
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = False
    network = torchvision.models.get_model(
        name, weights=None, num_classes=wanted.classes, **options
    )
    return Built(network=network, image_size=size)


def _build_timm(name: str, wanted: Wanted) -> Built:
    import timm

    config = timm.get_pretrained_cfg(name)
    native = int(config.input_size[-1]) if config else _USUAL_IMAGE_SIZE
    size = wanted.image_size or native
    fixed = size != native and config is not None and config.fixed_input_size
    network = timm.create_model(
        name,
        num_classes=wanted.classes,
        in_chans=wanted.channels,
        **({"img_size": size} if fixed else {}),
    )
    return Built(network=network, image_size=size)


def _build_hf(name: str, wanted: Wanted) -> Built:
    import transformers

    config = transformers.CONFIG_MAPPING[name]()
    # Models of images and text keep what belongs to the images apart.
    vision = getattr(config, "vision_config", config)
    config.num_labels = wanted.classes
    for key in ("num_channels", "in_channels"):
        if isinstance(getattr(vision, key, None), int):
            setattr(vision, key, wanted.channels)
    native = getattr(vision, "image_size", None)
    size = wanted.image_size or _side(native) or _USUAL_IMAGE_SIZE
    if native is not None:
        vision.image_size = size if isinstance(native, int) else type(native)((size, size))
    return Built(network=getattr(transformers, hf_classes()[name])(config), image_size=size)


def _side(image_size: Any) -> int | None:
    return image_size if image_size is None or isinstance(image_size, int) else int(image_size[0])


_BUILDERS: dict[Source, Callable[[str, Wanted], Built]] = {
    "ours": _build_ours,
    "torchvision": _build_torchvision,
    "timm": _build_timm,
    "hf": _build_hf,
}


def _fit_channels(network: nn.Module, channels: int) -> None:
    """Let the first convolution take images of other channels, where its library has not."""
    stem = next((each for each in network.modules() if isinstance(each, nn.Conv2d)), None)
    if stem is not None and stem.in_channels == 3 != channels:
        shape = (stem.out_channels, channels, *stem.kernel_size)
        stem.in_channels = channels
        stem.weight = nn.Parameter(torch.empty(shape, device="meta"))


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what libraries have to say on weights and names, which is beside the point here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
