"""Building networks for counting on the meta device, where they need no weights and no memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from harness.catalog import load_model
from harness.errors import CellError, RequestError
from harness.networks.adapter import adapt
from harness.profiling.names import ModelName, Source, hf_classes
from harness.profiling.request import Options
from harness.util.error_text import describe_error
from harness.util.quiet import quiet

# The image size of models whose library names none.
_USUAL_IMAGE_SIZE = 224

_Built = tuple[nn.Module, int]  # with the side in pixels of the images that it takes


def build(name: ModelName, options: Options) -> tuple[nn.Module, int]:
    """Build a model on the meta device, for the images and classes of the options.

    Returns:
        The network in evaluation mode, and the side in pixels of the square images that it takes.

    Raises:
        CellError: The library cannot build the model, or not for such images.
    """
    try:
        with quiet():
            network, image_size = _on_meta(lambda: _BUILDERS[name.source](name.name, options))
    except RequestError as error:
        raise CellError(str(error)) from error
    except Exception as error:
        raise CellError(f"cannot be built: {describe_error(error)}") from error
    _fit_channels(network, options.channels)
    return network.to("meta").eval(), image_size


def _on_meta(make: Callable[[], _Built]) -> _Built:
    """Build with every tensor on the meta device; where that fails, the parameters alone."""
    try:
        with torch.device("meta"):
            return make()
    except RuntimeError:
        # torchvision's RegNets compute with tensors while they are built.
        from accelerate import init_empty_weights

        with init_empty_weights():
            return make()


def _build_ours(name: str, options: Options) -> _Built:
    spec = load_model(name)
    if spec.compress is not None:
        raise RequestError(
            f"{spec.label} is made of a trained network, so its graph is not known before: count "
            f"ours:{spec.base}"
        )
    network = spec.build(options.classes, options.channels, False)
    if adapt(network).paths:
        raise RequestError(
            f"{spec.label} sends images different ways, so it has no one graph: comparisons.py "
            "counts each way"
        )
    size = options.image_size or spec.image_size
    if size != spec.image_size and spec.resize is not None:
        network = spec.resize(network, size)
    return network, size


def _build_torchvision(name: str, options: Options) -> _Built:
    import torchvision

    size = options.image_size
    if size is None:
        size = torchvision.models.get_model_weights(name).DEFAULT.transforms().crop_size[0]
    config: dict[str, Any] = {"weights": None, "num_classes": options.classes}
    if name.startswith("vit_"):
        config["image_size"] = size
    elif name.startswith("maxvit_"):
        config["input_size"] = (size, size)
    elif name == "googlenet":
        # Its weights come without the classifiers that only helped training.
        config["aux_logits"] = False
    if name in ("googlenet", "inception_v3"):
        config["init_weights"] = False
    return torchvision.models.get_model(name, **config), size


def _build_timm(name: str, options: Options) -> _Built:
    import timm

    config = timm.get_pretrained_cfg(name)
    native = int(config.input_size[-1]) if config else _USUAL_IMAGE_SIZE
    size = options.image_size or native
    shape = {"num_classes": options.classes, "in_chans": options.channels}
    if size != native and config is not None and config.fixed_input_size:
        shape["img_size"] = size
    return timm.create_model(name, **shape), size


def _build_hf(name: str, options: Options) -> _Built:
    import transformers

    config = transformers.CONFIG_MAPPING[name]()
    # Models of images and text have a configuration of their own for images.
    vision = getattr(config, "vision_config", config)
    config.num_labels = options.classes
    for key in ("num_channels", "in_channels"):
        if isinstance(getattr(vision, key, None), int):
            setattr(vision, key, options.channels)
    native: Any = getattr(vision, "image_size", None)
    square = native is None or isinstance(native, int)
    size = options.image_size or (native if square else int(native[0])) or _USUAL_IMAGE_SIZE
    if native is not None:
        vision.image_size = size if square else type(native)((size, size))
    return getattr(transformers, hf_classes()[name])(config), size


_BUILDERS: dict[Source, Callable[[str, Options], _Built]] = {
    "ours": _build_ours,
    "torchvision": _build_torchvision,
    "timm": _build_timm,
    "hf": _build_hf,
}


def _fit_channels(network: nn.Module, channels: int) -> None:
    """Let the first convolution take so many channels, where the library did not see to it."""
    stem = next((each for each in network.modules() if isinstance(each, nn.Conv2d)), None)
    if stem is not None and stem.in_channels == 3 != channels:
        shape = (stem.out_channels, channels, *stem.kernel_size)
        stem.in_channels = channels
        stem.weight = nn.Parameter(torch.empty(shape, device="meta"))
