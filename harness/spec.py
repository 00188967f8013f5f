"""The specifications of models and data sets, which every module may import.

This module imports nothing heavy, so that listing models and data sets does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, runtime_checkable

from annotated_types import Ge

from harness.jobs import Device, Job
from harness.settings_spec import Compression, Settings

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

StateDict = dict[str, "Tensor"]


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One model: how to build it, and what the harness cannot see from the network itself.

    Attributes:
        label: The name in tables.
        build: `build(num_classes, in_channels, pretrained)`; returns a network that maps
            float images N×C×H×W to N×K logits with K ≥ `num_classes`. `pretrained` loads
            ImageNet weights (or the model's own pre-training) and may use the network.
        image_size: Side of the square images that the network is built for, in pixels.
        resize: `resize(network, image_size)` makes a built network take images of another
            size; None where any size will do.
        pretrained: What `build(pretrained=True)` loads, e.g. "torchvision IMAGENET1K_V1"; empty
            where no pre-trained weights exist.
        adapt_published: Turns the keys of the published state dict into those of `build`.
        published_form: `published_form(network, read)` makes of a built network the one that was
            published, with any weights, where that is another; `read()` returns the adapted state
            dict, for a network whose shape is that of its weights. None: it is the same network.
        published_label: The name in tables of that network; empty: `label`.
        fit: Trains the network in the model's own way: takes a `harness.training.stages.Fitting`,
            returns the network; None: the common training.
        first_stage: Returns the model of the first stage of `fit` alone, which the common training
            trains: what `--tune` searches a recipe for, which all stages then follow. None: there
            is no such model.
        describe: `describe(network, make)` returns what `rebuild` needs of a network that is not
            as built, as JSON holds it; `make()` builds one.
        rebuild: `rebuild(structure, make)` makes that network, with any weights, from what
            `describe` returned.
        load_published: Returns the network with published weights that are not one file for
            `build`, and a digest of them; takes the job and the number of classes.
        quantize: `quantize(network, backend, images)` returns the int8 network of a trained one,
            with the ranges of some training images; None: `harness.compression` does it.
        section: The section of the settings that is for such models alone; empty: none is.
        base_section: That of the model that this one is made from.
        base: Name of the model that this one is made from, whose recipe `Settings.training` is
            and whose trained network `fit` is given; empty: none.
        compress: `compress(network, settings, channels)` makes of a network of `base`, whatever
            its weights, what `fit` would make of a trained one, without training.
        devices: The devices that the model can run on.
    """

    label: str
    build: Callable[[int, int, bool], nn.Module]
    image_size: Annotated[int, Ge(1)]
    resize: Callable[[nn.Module, int], nn.Module] | None = None
    pretrained: str = ""
    adapt_published: Callable[[StateDict], StateDict] | None = None
    published_form: Callable[[nn.Module, Callable[[], StateDict]], nn.Module] | None = None
    published_label: str = ""
    fit: Callable[[Any], nn.Module] | None = None
    first_stage: Callable[[Settings], ModelSpec] | None = None
    describe: Callable[[nn.Module, Callable[[], nn.Module]], dict[str, Any]] | None = None
    rebuild: Callable[[dict[str, Any], Callable[[], nn.Module]], nn.Module] | None = None
    load_published: Callable[[Job, int], tuple[nn.Module, str]] | None = None
    quantize: Callable[[nn.Module, str, Tensor], nn.Module] | None = None
    section: Literal["", "tree", "quantization", "pruning"] = ""
    base_section: Literal["", "tree"] = ""
    base: str = ""
    compress: Callable[[nn.Module, Settings, int], nn.Module] | None = None
    devices: tuple[Device, ...] = ("cpu", "cuda")

    def input_size(self, settings: Settings) -> int:
        """Return the side of the images that the network takes under these settings, in pixels."""
        return settings.image_size or self.image_size

    def title(self, settings: Settings) -> str:
        """Return the name in tables of the network that these settings ask for."""
        label = (settings.weights == "published" and self.published_label) or self.label
        return f"{label} (small stem)" if settings.stem else label


@dataclass(frozen=True, kw_only=True)
class CompressedSpec:
    """A model that another one becomes in one more step; `harness.catalog` makes a `ModelSpec`.

    `base` names a convolutional network, or a tree of such, that is not compressed itself, and the
    section of the settings that `compression` names says how it is done.
    """

    label: str
    base: str
    compression: Compression


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The images of a data set as its files hold them, in the layout of a `--data-file`.

    Images are uint8, N×H×W or N×H×W×C, and labels N integers in [0, number of classes).
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    @property
    def parts(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Images and labels, by "train" and "test"."""
        return {
            "train": (self.train_images, self.train_labels),
            "test": (self.test_images, self.test_labels),
        }


@dataclass(frozen=True, kw_only=True)
class OfficialFile:
    """A file in which a data set is published.

    `path` is where it belongs, relative to the folder of the official images, and `bytes` its
    length.
    """

    path: str
    url: str
    md5: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """One data set: its classes, its statistics, and where its images come from.

    Attributes:
        label: The name in tables.
        classes: Class names, in the order of the labels.
        channels: 1 (grey) or 3 (RGB).
        image_size: Side of the images as stored, in pixels.
        load_splits: `load_splits(root)` returns the images in the official files below the folder
            `root`; raises OSError or RuntimeError when one is missing, or is not the official one.
        files: The official files, which are fetched when `load_splits` does not find them.
        splits_sha256: Digest of the arrays, as `harness.data.npz.arrays_sha256` gives it, where it
            is what proves that the images are the official ones; empty where `files` are.
        advice: What else can be done when the images are missing.
        mean: Per-channel mean in [0, 1] that images are normalised with; None: not normalised.
        std: Per-channel standard deviation that goes with `mean`.
    """

    label: str
    classes: tuple[str, ...]
    channels: Literal[1, 3]
    image_size: int
    load_splits: Callable[[Path], Splits]
    files: tuple[OfficialFile, ...] = ()
    splits_sha256: str = ""
    advice: str = ""
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def shape_is_trained(spec: ModelSpec) -> bool:
    """Whether training decides a model's shape, so that an untrained network says nothing."""
    return spec.rebuild is not None and (spec.compress is None or bool(spec.base_section))


@dataclass(frozen=True, kw_only=True)
class NetworkPath:
    """One of the ways that images take through a routed network.

    `classes` are those that an image on it can be given, and `network` the layers that it passes,
    which map 1×C×H×W to logits.
    """

    name: str
    classes: tuple[int, ...]
    network: nn.Module


@runtime_checkable
class RoutedNetwork(Protocol):
    """A network that sends images different ways, so that they differ in cost."""

    def prepare_for_inference(self) -> nn.Module:
        """Return a copy that is made for inference alone, a routed network too."""

    def route(self, images: Tensor) -> Tensor:
        """Return the class, int64 N, that each of N×C×H×W images is sent to."""

    def paths(self) -> tuple[NetworkPath, ...]:
        """Return all the ways; every class is on exactly one."""


@runtime_checkable
class DecidingNetwork(RoutedNetwork, Protocol):
    """A routed network whose ways are choices, one after the other."""

    def decisions(self) -> tuple[tuple[nn.Module, tuple[int, ...]], ...]:
        """Return the networks that choose, the first one first, and what follows each choice.

        A network maps N×C×H×W to maps and logits; a choice leads to the network of that index, or
        to class -1 - choice.
        """


@runtime_checkable
class BeamNetwork(RoutedNetwork, Protocol):
    """A routed network whose images may follow several paths, of which the likeliest end counts."""

    @property
    def beam_words(self) -> str:
        """How many paths an image follows, and when; empty where it follows one."""

    def with_beam(self, paths: int, threshold: float) -> nn.Module:
        """Return a network of the same weights, where an image follows up to so many paths.

        One after the first begins at a choice that has at least the threshold's probability.
        """

    def name_paths(self, images: Tensor) -> list[str]:
        """Return, for each of N×C×H×W images, the name of the paths that it takes together."""

    def find_path(self, name: str) -> NetworkPath | None:
        """Return the paths of such a name, what they share once; None where there are none."""


@runtime_checkable
class QuantizedNetwork(Protocol):
    """A network whose layers no counter, tracer or meta device knows.

    Its `state_dict` holds all its weights as plain tensors.
    """

    precision: str
    """Number format of its products, e.g. int8."""
    kernels: str
    """The kernels that compute them, in words."""

    def float_network(self) -> nn.Module:
        """Return a float network with the same layers, without data, to count operations on."""
