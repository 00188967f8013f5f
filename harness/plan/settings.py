"""Settings completed for a model and a data set, or refused where the model cannot follow them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from harness.errors import RequestError
from harness.jobs import Device
from harness.settings import SECTIONS, recipes
from harness.settings_spec import Settings, TrainingSettings
from harness.spec import DatasetSpec, ModelSpec


def complete_settings(
    settings: Settings, model: ModelSpec, dataset: DatasetSpec | None
) -> Settings:
    """Fill in what settings leave to the model and to the data set: image size and statistics.

    Raises:
        RequestError: There are settings that this model cannot follow.
    """
    for name, (what, make) in SECTIONS.items():
        there = getattr(settings, name) is not None
        if not there and model.section == name:
            section: Any = {name: make()}
            settings = replace(settings, **section)
        elif there and name not in (model.section, model.base_section):
            raise RequestError(f"setting {name}: {model.label} is {what}")
    for message in _mistakes(settings, model):
        raise RequestError(f"setting {message}")
    mean, std = settings.mean, settings.std
    if dataset is not None and mean is None and std is None:
        mean, std = dataset.mean, dataset.std
    return replace(
        settings,
        image_size=model.input_size(settings),
        mean=mean if settings.normalize else None,
        std=std if settings.normalize else None,
    )


def check_training_device(settings: Settings, device: Device) -> None:
    """Raise RequestError where a recipe's precision needs another device."""
    for name, recipe in recipes(settings).items():
        if device == "cpu" and recipe.precision in ("fp16", "tf32"):
            raise RequestError(
                f"setting {name}.precision: {recipe.precision} is for GPUs; use fp32 or bf16 on a "
                "CPU"
            )


def _mistakes(settings: Settings, model: ModelSpec) -> Iterator[str]:
    """Yield what is wrong with settings that are right by themselves, but not for this model."""
    size = model.input_size(settings)
    yield from _mistakes_of_quantization(settings, model)
    yield from _mistakes_of_beam(settings, model)
    if settings.stem is not None:
        yield from _mistakes_of_stem(settings, model)
    for name, recipe in recipes(settings).items():
        yield from _mistakes_of_recipe(name, recipe, size)
        if model.fit is not None:
            yield from _mistakes_of_stages(name, recipe, model)
        if recipe.processes > 1:
            own_stages = name != "training" or _trains_in_stages(model)
            yield from _mistakes_of_processes(name, recipe, model.label if own_stages else "")


def _trains_in_stages(model: ModelSpec) -> bool:
    """Whether `Settings.training` is one stage of several, of the model or of its base."""
    return bool(model.base_section) or (model.fit is not None and not model.base)


def _mistakes_of_quantization(settings: Settings, model: ModelSpec) -> Iterator[str]:
    precision, quantization = settings.evaluation.precision, settings.quantization
    if not model.base or quantization is None:
        return
    if precision != "fp32":
        own = "fp32" if settings.weights == "published" else "int8"
        yield (
            f"evaluation.precision: {model.title(settings)} runs in {own}, not in {precision}; "
            "leave it at fp32"
        )
    if model.quantize is not None and quantization.calibration_images is None:
        yield (
            f"quantization.calibration_images: null; {model.label} is not trained in int8: a "
            "number of training images wanted"
        )


def _mistakes_of_recipe(name: str, recipe: TrainingSettings, size: int) -> Iterator[str]:
    """Yield what contradicts itself in a recipe for images of a size."""
    shift, (_, side) = recipe.shift_pixels, recipe.cutout or (0, 0)
    for key, pixels, most in (("shift_pixels", shift, size - 1), ("cutout", side, size)):
        if pixels > most:
            yield f"{name}.{key}: {pixels} pixels, images have {size}: at most {most} wanted"
    low, high = recipe.random_resized_crop or (1, 1)
    if low > high:
        yield f"{name}.random_resized_crop: [{low:g}, {high:g}]: the smaller share comes first"
    if recipe.warmup_epochs is None:
        return
    where = f"{name}.warmup_epochs: {recipe.warmup_epochs:g}"
    if recipe.schedule == "one_cycle":
        yield f"{where}, but one_cycle has a warm-up of its own: set {name}.warmup_fraction"
    ends = {"epochs": recipe.epochs}
    if recipe.schedule == "cosine" and recipe.cosine_epochs is not None:
        ends["cosine_epochs"] = recipe.cosine_epochs
    if recipe.schedule == "step" and recipe.step_epochs:
        ends["step_epochs"] = min(recipe.step_epochs)
    for key, end in ends.items():
        if recipe.warmup_epochs >= end:
            yield f"{where}, but {name}.{key} is {end}: fewer wanted"


def _mistakes_of_stages(name: str, recipe: TrainingSettings, model: ModelSpec) -> Iterator[str]:
    """Yield what a recipe asks of a model with stages of its own that it cannot do."""
    cannot = dict.fromkeys(("freeze_layers", "freeze_backbone"), "freezes no layers")
    if name != "training" or _trains_in_stages(model):
        cannot["layer_decay"] = "has one learning rate for all layers"
    if _trains_in_stages(model):
        cannot |= dict.fromkeys(("mixup_alpha", "cutmix_alpha"), "needs one class an image")
    if name == "tree.joint":
        cannot["compile"] = "runs every node by itself in this one"
    for key, why in cannot.items():
        if getattr(recipe, key):
            yield f"{name}.{key}: {model.label} trains in stages of its own and {why}"


def _mistakes_of_stem(settings: Settings, model: ModelSpec) -> Iterator[str]:
    """Yield what does not go together with a stem that is not the model's own."""
    if _trains_in_stages(model):
        yield f"stem: {model.label} trains in stages, and builds its networks itself"
    if settings.weights == "published":
        yield f"stem: {settings.stem} is not the stem that published weights are for"
    for key in ("freeze_layers", "freeze_backbone"):
        if getattr(settings.training, key):
            yield f"stem: {settings.stem} starts from random weights, and training.{key} keeps them"


def _mistakes_of_beam(settings: Settings, model: ModelSpec) -> Iterator[str]:
    """Yield why an image cannot follow several paths, where the settings ask for that."""
    beam, threshold = settings.evaluation.beam, settings.evaluation.beam_threshold
    if model.section != "tree":
        for name, value in (("beam", beam if beam > 1 else 0), ("beam_threshold", threshold)):
            if value:
                why = "is no tree of networks, so that images have"
                if model.base_section:
                    why = "sends images along"
                yield f"evaluation.{name}: {model.label} {why} 1 path, found {value}; leave it out"
    elif threshold and beam == 1:
        yield (
            f"evaluation.beam_threshold: found {threshold}, but evaluation.beam is 1: paths after "
            "the first one need 2 or more"
        )


def _mistakes_of_processes(name: str, recipe: TrainingSettings, in_stages: str) -> Iterator[str]:
    """Yield what several processes cannot do together; the label is of a model with stages."""
    where = f"{name}.processes: "
    if in_stages:
        yield f"{where}the stages of {in_stages} train in 1 process alone"
    for key in ("micro_batch_size", "compile"):
        if getattr(recipe, key) is not None:
            yield f"{where}{name}.{key} goes with 1 process alone"
    least = recipe.processes * (2 if recipe.norm_statistics == "local" else 1)
    if recipe.batch_size < least:
        yield (
            f"{where}{recipe.processes} processes need {name}.batch_size {least} or more, found "
            f"{recipe.batch_size}"
        )
