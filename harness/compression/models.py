"""The model spec of a compressed model: that of its base, with a training that compresses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.ao.quantization import disable_observer

from harness.compression import pruning, quantization
from harness.compression.published import name_as_vgg_bn, narrow_vgg_bn, observe_resnet
from harness.errors import RequestError
from harness.measure.networks import copy_network
from harness.settings_spec import PruningSettings, QuantizationSettings, Settings
from harness.spec import CompressedSpec, ModelSpec, StateDict
from harness.training.rehearsal import check_same
from harness.training.stages import Base, Fitting
from harness.util.error_text import describe_error

_CALIBRATION_IMAGES = 4


def compressed_model(spec: CompressedSpec, base: ModelSpec) -> ModelSpec:
    """Return the model spec of a compressed model, which is built as the base that it names.

    It takes the same images, and `fit` compresses the trained base.
    """
    ways: dict[str, dict[str, Any]] = {
        "quantization": {
            "fit": partial(_fit_quantized, base),
            "compress": partial(_quantize_at_once, base),
            "describe": partial(_describe_quantized, base),
            "rebuild": partial(_rebuild_quantized, base),
            # A tree has published weights, but not of an int8 tree.
            "load_published": None,
            # Torch has int8 kernels for CPUs alone.
            "devices": ("cpu",),
            "published_form": lambda network, _read: observe_resnet(network),
            "published_label": f"{base.label} with observers",
        },
        "pruning": {
            "fit": _fit_pruned,
            "compress": _prune_at_once,
            "describe": lambda network, build: pruning.describe_shapes(network, build()),
            "rebuild": lambda shapes, build: _reshaped(build(), shapes),
            "adapt_published": name_as_vgg_bn,
            "published_form": _narrowed_as_published,
        },
    }
    own = {
        "label": spec.label,
        "base": spec.base,
        "first_stage": None,
        "section": spec.compression,
        "base_section": base.section,
    }
    return dataclasses.replace(base, **(ways[spec.compression] | own))


def _fit_quantized(spec: ModelSpec, fitting: Fitting) -> nn.Module:
    """Convert the base to int8, after a training with all numbers rounded or a calibration."""
    settings = fitting.settings.quantization or QuantizationSettings()
    base, recipe, stages = _base_of(fitting), settings.training, fitting.stages
    network = base.network
    if settings.calibration_images is not None:
        stages.note("accuracy_base", lambda: base.accuracy(network))
        quantize = spec.quantize or quantization.calibrate
        return quantize(network, settings.backend, _calibration_images(fitting, settings))
    if recipe.precision != "fp32":
        raise RequestError(
            f"setting quantization.training.precision: {recipe.precision} numbers cannot be "
            "rounded as int8 will round them; use fp32"
        )
    stages.note("accuracy_base", lambda: base.accuracy(network))
    fitting.seed_all("quantization")
    batches = fitting.image_batches(recipe, fitting.split.labels)
    first = next(batches.epoch(1, 0))[0].cpu()
    shown = quantization.with_any_ranges(network, settings.backend, first)
    again = quantization.with_any_ranges(network, settings.backend, torch.zeros_like(first))
    again.load_state_dict(shown.state_dict())
    check_same(again, shown, first)
    fake = quantization.prepare(network, settings.backend, first)
    stages.train("quantization", fake, batches, recipe)
    fake.apply(disable_observer)  # which fixes the ranges
    stages.note("accuracy_fake_quantized", lambda: base.accuracy(fake))
    return quantization.convert(fake, network, settings.backend, tuple(first.shape[1:]))


def _calibration_images(fitting: Fitting, settings: QuantizationSettings) -> Tensor:
    """Return random training images, all of them where fewer are there, ready for a network."""
    generator = torch.Generator().manual_seed(fitting.settings.seed)
    order = torch.randperm(len(fitting.split), generator=generator)[: settings.calibration_images]
    images, _ = next(fitting.split.batches(order, len(order)))
    return fitting.preprocess(images)


def _fit_pruned(fitting: Fitting) -> nn.Module:
    """Take channels out of the base, then train what is left."""
    settings = fitting.settings.pruning or PruningSettings()
    base, recipe, stages = _base_of(fitting), settings.training, fitting.stages
    stages.note("accuracy_base", lambda: base.accuracy(base.network))
    network = stages.make(
        "pruning",
        lambda: _prune_at_once(base.network, fitting.settings, fitting.channels),
        describe=lambda made: pruning.describe_shapes(made, base.network),
        rebuild=lambda shapes: _reshaped(base.network, shapes),
    )
    stages.note("accuracy_pruned", lambda: base.accuracy(network))
    fitting.seed_all("fine_tuning")
    batches = fitting.image_batches(recipe, fitting.split.labels)
    stages.train("fine_tuning", network, batches, recipe)
    return network


def _base_of(fitting: Fitting) -> Base:
    if fitting.base is None:
        raise RequestError("a compressed model is made from a trained base, and there is none")
    return fitting.base


def _quantize_at_once(
    spec: ModelSpec, network: nn.Module, settings: Settings, channels: int
) -> nn.Module:
    """Return the int8 network of a float one, with ranges from random images."""
    wanted = settings.quantization or QuantizationSettings()
    generator = torch.Generator().manual_seed(settings.seed)
    shape = _image_shape(settings, channels)
    images = torch.randn((_CALIBRATION_IMAGES, *shape), generator=generator)
    return _with_any_ranges(spec, network, wanted.backend, images)


def _with_any_ranges(
    spec: ModelSpec, network: nn.Module, backend: str, images: Tensor
) -> nn.Module:
    return (spec.quantize or quantization.with_any_ranges)(network, backend, images)


def _prune_at_once(network: nn.Module, settings: Settings, channels: int) -> nn.Module:
    """Return a copy with fewer channels, not trained any further."""
    pruned = copy_network(network).eval()
    example = torch.zeros(1, *_image_shape(settings, channels))
    pruning.prune(pruned, example, settings.pruning or PruningSettings())
    return pruned


def _image_shape(settings: Settings, channels: int) -> tuple[int, int, int]:
    if settings.image_size is None:
        raise ValueError("complete settings have an image size")
    return channels, settings.image_size, settings.image_size


def _describe_quantized(
    spec: ModelSpec, network: nn.Module, build: Callable[[], nn.Module]
) -> dict[str, Any]:
    int8 = cast("quantization.Int8Network", network)
    own = {"backend": int8.backend, "image_shape": list(int8.image_shape)}
    return own | ({"base": spec.describe(network, build)} if spec.describe else {})


def _rebuild_quantized(
    spec: ModelSpec, structure: dict[str, Any], build: Callable[[], nn.Module]
) -> nn.Module:
    try:
        backend, images = str(structure["backend"]), torch.zeros(1, *structure["image_shape"])
        of_base = structure["base"] if spec.rebuild else {}
    except (KeyError, TypeError) as error:
        reason = describe_error(error)
        raise RequestError(f"structure: not that of an int8 network ({reason})") from error
    network = spec.rebuild(of_base, build) if spec.rebuild else build()
    return _with_any_ranges(spec, network.eval(), backend, images)


def _narrowed_as_published(network: nn.Module, read: Callable[[], StateDict]) -> nn.Module:
    narrow_vgg_bn(network, [len(tensor) for tensor in read().values() if tensor.ndim == 4])
    return network


def _reshaped(network: nn.Module, shapes: dict[str, Any]) -> nn.Module:
    made = copy_network(network)
    pruning.reshape(made, shapes)
    return made
