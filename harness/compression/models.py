"""What a `CompressedSpec` comes to: the spec of a model that is its base in one more step."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn

from harness.compression import pruning, quantization
from harness.errors import RequestError
from harness.settings_spec import PruningSettings, QuantizationSettings, Settings
from harness.spec import CompressedSpec, ModelSpec
from harness.training.stages import Base, Fitting
from harness.util.error_text import describe_error

_CALIBRATION_IMAGES = 4


def compressed_model(spec: CompressedSpec, base: ModelSpec) -> ModelSpec:
    """Return the model spec of a compressed model.

    It is built, and takes images, as its base; `fit` compresses a trained one.

    Args:
        spec: The compressed model.
        base: The model that its `base` names.
    """
    ways: dict[str, dict[str, Any]] = {
        "quantization": {
            "fit": _fit_quantized,
            "compress": _quantize_at_once,
            "describe": _describe_quantized,
            "rebuild": _rebuild_quantized,
            # Torch's int8 kernels are for CPUs.
            "devices": ("cpu",),
        },
        "pruning": {
            "fit": _fit_pruned,
            "compress": _prune_at_once,
            "describe": _describe_pruned,
            "rebuild": _rebuild_pruned,
        },
    }
    return dataclasses.replace(
        base,
        label=spec.label,
        base=spec.base,
        section=spec.compression,
        **ways[spec.compression],
    )


def _fit_quantized(fitting: Fitting) -> nn.Module:
    """Train a float network on with all numbers rounded, then convert it to int8."""
    settings = fitting.settings.quantization or QuantizationSettings()
    base, recipe, stages = _base_of(fitting), settings.training, fitting.stages
    network = base.network
    if recipe.precision != "fp32":
        raise RequestError(
            f"setting quantization.training.precision: {recipe.precision} numbers cannot be "
            "rounded as int8 will round them; use fp32"
        )
    stages.note("accuracy_base", lambda: base.accuracy(network))
    fitting.seed_all("quantization")
    batches = fitting.image_batches(recipe, fitting.split.labels)
    first, _ = next(batches.epoch(1, 0))
    fake = quantization.prepare(network, settings.backend, first)
    stages.train("quantization", fake, batches, recipe)
    quantization.freeze(fake)
    stages.note("accuracy_fake_quantized", lambda: base.accuracy(fake))
    return quantization.convert(fake, network, settings.backend, tuple(first.shape[1:]))


def _fit_pruned(fitting: Fitting) -> nn.Module:
    """Take channels out of a network, then train what is left of it."""
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


def _quantize_at_once(network: nn.Module, settings: Settings, channels: int) -> nn.Module:
    """Return the int8 network of a float one, its ranges from random images."""
    wanted = settings.quantization or QuantizationSettings()
    generator = torch.Generator().manual_seed(settings.seed)
    shape = (_CALIBRATION_IMAGES, channels, _size(settings), _size(settings))
    images = torch.randn(shape, generator=generator)
    return quantization.with_any_ranges(network, wanted.backend, images)


def _prune_at_once(network: nn.Module, settings: Settings, channels: int) -> nn.Module:
    """Return a copy with fewer channels, not trained any further."""
    pruned = copy.deepcopy(network).eval()
    example = torch.zeros(1, channels, _size(settings), _size(settings))
    pruning.prune(pruned, example, settings.pruning or PruningSettings())
    return pruned


def _size(settings: Settings) -> int:
    if settings.image_size is None:
        raise ValueError("complete settings have an image size")
    return settings.image_size


def _describe_quantized(network: nn.Module, build: Callable[[], nn.Module]) -> dict[str, Any]:
    del build
    int8 = cast("quantization.Int8Network", network)
    return {"backend": int8.backend, "image_shape": list(int8.image_shape)}


def _rebuild_quantized(
    structure: dict[str, Any], build: Callable[[], nn.Module]
) -> quantization.Int8Network:
    try:
        backend, shape = str(structure["backend"]), tuple(structure["image_shape"])
        images = torch.zeros(1, *shape)
    except (KeyError, TypeError) as error:
        reason = describe_error(error)
        raise RequestError(f"structure: not that of an int8 network ({reason})") from error
    return quantization.with_any_ranges(build().eval(), backend, images)


def _describe_pruned(network: nn.Module, build: Callable[[], nn.Module]) -> dict[str, Any]:
    return pruning.describe_shapes(network, build())


def _rebuild_pruned(structure: dict[str, Any], build: Callable[[], nn.Module]) -> nn.Module:
    return _reshaped(build(), structure)


def _reshaped(network: nn.Module, shapes: dict[str, Any]) -> nn.Module:
    made = copy.deepcopy(network)
    pruning.reshape(made, shapes)
    return made
