"""Finding the network and the images that attention is drawn for."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from harness.catalog import load_model
from harness.data.image import decode_image
from harness.data.loading import load_job_data
from harness.data.preprocess import Preprocess, resize_uint8
from harness.errors import RequestError
from harness.jobs import Cell, Job, Request
from harness.measure.conditions import set_threads
from harness.networks.build import build_network, build_pretrained, make_preprocess
from harness.networks.weights_files import trained_weights_path, with_stored_start
from harness.plan.images import accept_images
from harness.plan.jobs import make_job, name_datasets
from harness.plan.recipes import choose_recipe
from harness.plan.settings import complete_settings
from harness.registry import expand_names, find_dataset, model_files
from harness.run.provision import ReadyNetwork, ready_network
from harness.settings import load_settings, parse_assignment
from harness.settings_spec import Settings
from harness.spec import ModelSpec

# What most pre-trained networks were trained with, for a picture that belongs to no data set.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
# The size of a head that is not used.
_ANY_CLASSES = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Looking:
    """A network in evaluation mode and the images that it looks at.

    The images are uint8 N×C×S×S at the network's size, the inputs are what the network takes.
    """

    network: nn.Module
    images: Tensor
    inputs: Tensor
    captions: tuple[str, ...]
    title: str


def find_looking(request: Request, image: Path | None, count: int) -> Looking:
    """Return the network that the command line names, and the images that it looks at.

    They are the picture `image`, or `count` test images, drawn at random by the settings' seed.
    """
    models = expand_names("model", request.models, model_files())
    if len(models) != 1:
        raise RequestError("--model: name one")
    names = name_datasets(request)
    if len(names) > 1:
        raise RequestError("--dataset: name one")
    if names:
        cell = Cell(dataset=names[0], model=models[0], device="cpu")
        return _of_cell(*make_job(request, cell), image, count)
    if image is None:
        raise RequestError("--dataset is missing: name one, or give a picture with --image")
    return _of_picture(request, load_model(models[0]), image)


def _of_cell(job: Job, spec: ModelSpec, image: Path | None, count: int) -> Looking:
    """Return the network of a cell, with the data set's images or a picture."""
    if job.settings.weights == "train":
        raise RequestError("--weights train: nothing is trained here; leave it out")
    set_threads(job.settings.threads)
    data = load_job_data(job, spec)
    accept_images(job, data.source, force=True)
    job = with_stored_start(job, data.source.sha256)
    trained = trained_weights_path(job, data.source.sha256)
    if job.settings.weights == "auto" and not trained.exists():
        raise RequestError(
            f"{trained}: no such weights; `{job.command}` trains them, --weights imagenet and "
            "random need no training"
        )
    ready = ready_network(job, spec, data)
    preprocess = make_preprocess(job.settings, spec)
    if image is None:
        generator = torch.Generator().manual_seed(job.settings.seed)
        order = torch.randperm(len(data.test), generator=generator)[:count]
        stored, labels = next(data.test.batches(order, count))
        stored = resize_uint8(stored, preprocess.image_size)
        true = [data.classes[label] for label in labels.tolist()]
    else:
        stored, true = _read_picture(image, data.channels, preprocess), [image.name]
    inputs = preprocess(stored)
    seen = _predict(ready, inputs, data.classes)
    return Looking(
        network=ready.network,
        images=stored,
        inputs=inputs,
        captions=tuple(name + as_ for name, as_ in zip(true, seen, strict=True)),
        title=f"{spec.label}, {_describe_weights(ready, job, spec)}",
    )


def _of_picture(request: Request, spec: ModelSpec, image: Path) -> Looking:
    """Return a network without a data set, pre-trained or random, with a picture."""
    overrides = {"weights": "imagenet", **request.overrides}
    overrides |= dict(map(parse_assignment, request.assignments))
    model = request.models[0]
    settings = load_settings("all", model, overrides, recipe=choose_recipe(request, model))
    if settings.weights not in ("imagenet", "random"):
        raise RequestError(f"--weights {settings.weights}: of which --dataset?")
    settings = complete_settings(settings, spec, None)
    if settings.normalize and settings.mean is None:
        settings = dataclasses.replace(settings, mean=_IMAGENET_MEAN, std=_IMAGENET_STD)
    set_threads(settings.threads)
    preprocess = make_preprocess(settings, spec)
    stored = _read_picture(image, 3, preprocess)
    build = build_pretrained if settings.weights == "imagenet" else build_network
    return Looking(
        network=build(spec, settings, _ANY_CLASSES, 3).eval(),
        images=stored,
        inputs=preprocess(stored),
        captions=(image.name,),
        title=f"{spec.label}, {_describe_untrained(settings, spec)}",
    )


def _read_picture(path: Path, channels: int, preprocess: Preprocess) -> Tensor:
    """Return an image file as uint8 1×C×S×S."""
    size = preprocess.image_size
    pixels = torch.tensor(decode_image(path, channels, (size, size)))
    return pixels.reshape(1, size, size, channels).permute(0, 3, 1, 2).contiguous()


@torch.no_grad()
def _predict(ready: ReadyNetwork, inputs: Tensor, classes: tuple[str, ...]) -> list[str]:
    """Return what to add to each caption; nothing where the network was not trained for this."""
    if ready.origin not in ("trained", "published"):
        return [""] * len(inputs)
    found: list[int] = ready.network(inputs).argmax(1).tolist()
    names = [classes[index] if index < len(classes) else "none of them" for index in found]
    return [f", seen as {name}" for name in names]


def _describe_weights(ready: ReadyNetwork, job: Job, spec: ModelSpec) -> str:
    known = find_dataset(job.cell.dataset)
    dataset = known.label if known else job.cell.dataset
    if ready.sidecar is not None:
        epochs, start = len(ready.sidecar.logs), ready.sidecar.start
        return f"trained on {dataset} for {epochs} epochs from {start} weights"
    if ready.origin == "published":
        return f"published weights for {dataset}"
    return _describe_untrained(job.settings, spec)


def _describe_untrained(settings: Settings, spec: ModelSpec) -> str:
    if settings.weights == "imagenet":
        return f"pre-trained weights ({spec.pretrained}), not trained further"
    return f"random weights (seed {settings.seed})"
