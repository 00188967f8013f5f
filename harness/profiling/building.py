"""Building networks for counting on the meta device, where they need no weights and no memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from harness.catalog import load_model
from harness.errors import CellError, RequestError
from harness.networks.adapter import adapt
from harness.profiling.catalogue import catalogue
from harness.profiling.hf import build_from_config, build_hf, fetch_config
from harness.profiling.names import ModelName, Source
from harness.profiling.request import USUAL_IMAGE_SIZE, ImageSize, Options, show_size, sides
from harness.profiling.user_models import find_callable
from harness.util.error_text import describe_error
from harness.util.quiet import quiet

_Built = tuple[nn.Module, ImageSize]


def build(name: ModelName, options: Options, *, on_meta: bool = True) -> _Built:
    """Build a model, in evaluation mode, for the images and classes of the options.

    It is on the meta device, or else on the CPU with random weights; it comes with the size of the
    images that it takes. CellError: it cannot be built, or not for such images.
    """
    make = partial(_BUILDERS[name.source], name.name, options)
    try:
        with quiet():
            network, image_size = _on_meta(make) if on_meta else make()
    except RequestError as error:
        raise CellError(str(error)) from error
    except Exception as error:
        raise CellError(f"cannot be built: {describe_error(error)}") from error
    if name.source in ("torchvision", "timm"):
        _fit_channels(network, options.channels)
    return (network.to("meta") if on_meta else network).eval(), image_size


def _on_meta(make: Callable[[], _Built]) -> _Built:
    """Build with every tensor on the meta device; where that fails, the parameters alone."""
    try:
        with torch.device("meta"):
            return make()
    except (RuntimeError, TypeError):
        # torchvision's RegNets compute with tensors while they are built, others with NumPy.
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
        network = spec.resize(network, _side(spec.label, size))
    return network, size


def _side(label: str, size: ImageSize) -> int:
    if not isinstance(size, int):
        raise RequestError(f"{label} takes square images, not {show_size(size)}")
    return size


def _build_torchvision(name: str, options: Options) -> _Built:
    import torchvision

    size: ImageSize | None = options.image_size
    if size is None:
        size = int(torchvision.models.get_model_weights(name).DEFAULT.transforms().crop_size[0])
    config: dict[str, Any] = {"weights": None, "num_classes": options.classes}
    if name.startswith("vit_"):
        config["image_size"] = _side(name, size)
    elif name.startswith("maxvit_"):
        config["input_size"] = sides(size)
    elif name.endswith("googlenet"):
        # Its weights come without the classifiers that only helped training.
        config["aux_logits"] = False
    if name.removeprefix("quantized_") in ("googlenet", "inception_v3"):
        config["init_weights"] = False
    return torchvision.models.get_model(name, **config), size


def _build_timm(name: str, options: Options) -> _Built:
    import timm

    config = timm.get_pretrained_cfg(name)
    return _create_timm(name, vars(config) if config else {}, options)


def _create_timm(
    name: str, stated: Mapping[str, Any], options: Options, **arguments: Any
) -> _Built:
    """Build a model, of whose weights timm's configuration is stated."""
    import timm

    _, height, width = stated.get("input_size", (3, USUAL_IMAGE_SIZE, USUAL_IMAGE_SIZE))
    size = options.image_size or (height if height == width else (height, width))
    if sides(size) != (height, width) and stated.get("fixed_input_size"):
        arguments["img_size"] = size
    arguments |= {"num_classes": options.classes, "in_chans": options.channels}
    return timm.create_model(name, **arguments), size


def _build_hub(name: str, options: Options) -> _Built:
    repository = name.removeprefix("hf:")
    path, tree = fetch_config(repository)
    if "architecture" in tree:
        stated, arguments = tree.get("pretrained_cfg", {}), tree.get("model_args") or {}
        return _create_timm(tree["architecture"], stated, options, **arguments)
    kind = catalogue("transformers").classes.get(tree.get("model_type", ""))
    if kind is None:
        raise RequestError(
            f"{repository} holds a model of type '{tree.get('model_type')}', which is no image "
            "classifier of transformers"
        )
    import transformers

    config = transformers.AutoConfig.from_pretrained(path.parent, trust_remote_code=False)
    return build_from_config(config, getattr(transformers, kind), options)


def _build_python(name: str, options: Options) -> _Built:
    make, arguments = find_callable(name)
    network = make if isinstance(make, nn.Module) else make(**arguments)
    if not isinstance(network, nn.Module):
        raise RequestError(f"{name} returns a {type(network).__name__}, not an nn.Module")
    return network, options.image_size or USUAL_IMAGE_SIZE


def _refuse_onnx(_: str, __: Options) -> _Built:
    raise RequestError("an ONNX file is not run here: comparisons.py --runtime onnxruntime does")


_BUILDERS: dict[Source, Callable[[str, Options], _Built]] = {
    "ours": _build_ours,
    "torchvision": _build_torchvision,
    "timm": _build_timm,
    "hf": build_hf,
    "hub": _build_hub,
    "python": _build_python,
    "onnx": _refuse_onnx,
}


def _fit_channels(network: nn.Module, channels: int) -> None:
    """Let the first convolution take so many channels, where the library did not see to it."""
    stem = next((each for each in network.modules() if isinstance(each, nn.Conv2d)), None)
    if stem is not None and stem.in_channels == 3 != channels:
        shape = (stem.out_channels, channels, *stem.kernel_size)
        stem.in_channels = channels
        stem.weight = nn.Parameter(torch.zeros(shape, device=stem.weight.device))
