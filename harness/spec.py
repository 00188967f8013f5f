"""The words of the harness: models, data sets, cells and settings.

The leaf that everyone imports. It imports nothing heavy, so that listing models and data sets
costs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

Device = Literal["cpu", "cuda"]
Precision = Literal["fp32", "bf16"]
Runtime = Literal["eager", "compile", "onnxruntime", "openvino"]
WeightsChoice = Literal["auto", "train", "imagenet", "published", "random"]
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
        fit: Trains in its own way: takes a `harness.stages.Fitting`, returns the network; None:
            the common training.
        describe: What `rebuild` needs of a network that `build` cannot make, as JSON holds it.
        rebuild: Makes that network, with any weights, from what `describe` returned.
        load_published: Returns the network with published weights that are not one file for
            `build`, and a digest of them; takes the job and the number of classes.
        paper: Where the model was published, when the module's docstring does not say it.
        devices: The devices that the model can run on.
    """

    label: str
    build: Callable[[int, int, bool], nn.Module]
    image_size: Annotated[int, Ge(1)]
    resize: Callable[[nn.Module, int], nn.Module] | None = None
    pretrained: str = ""
    adapt_published: Callable[[StateDict], StateDict] | None = None
    fit: Callable[[Any], nn.Module] | None = None
    describe: Callable[[nn.Module], dict[str, Any]] | None = None
    rebuild: Callable[[dict[str, Any]], nn.Module] | None = None
    load_published: Callable[[Job, int], tuple[nn.Module, str]] | None = None
    paper: str = ""
    devices: tuple[Device, ...] = ("cpu", "cuda")


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The images of a data set as its files hold them, in the layout of a `--data-file`.

    Attributes:
        train_images: uint8, N×H×W or N×H×W×C.
        train_labels: Integers in [0, number of classes), N.
        test_images: As `train_images`.
        test_labels: As `train_labels`.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """One data set: its classes, its statistics, and where its images come from.

    Attributes:
        label: The name in tables.
        classes: Class names, in the order of the labels.
        channels: 1 (grey) or 3 (RGB).
        image_size: Side of the images as stored, in pixels.
        load_splits: `load_splits(root, download)` returns the official images below the folder
            `root`, fetching them first when `download` is true; raises OSError or RuntimeError
            when they are not there.
        files: What to put where by hand, for the message when the images are missing.
        mean: Per-channel mean in [0, 1] that images are normalised with; None: not normalised.
        std: Per-channel standard deviation that goes with `mean`.
    """

    label: str
    classes: tuple[str, ...]
    channels: Literal[1, 3]
    image_size: int
    load_splits: Callable[[Path, bool], Splits]
    files: str
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One thing to run: a data set, a model and a device, by name."""

    dataset: str
    model: str
    device: Device

    def __str__(self) -> str:
        return f"{self.dataset}/{self.model}-{self.device}"


_STRICT = {"extra": "forbid", "allow_inf_nan": False}


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """A recipe: everything that the trained weights depend on, apart from data and seed.

    `start` auto is ImageNet weights where they can be had, else a random start; the record says
    which. Training images are changed at random, at the network's resolution, by `rand_augment`
    (operations an image, magnitude), `shift_pixels`, `horizontal_flip` and `cutout` (squares an
    image, side in pixels). `balance_classes` shows each class equally often. `cosine_epochs` is
    when the cosine schedule would reach 0; None: at the last epoch.
    """

    __pydantic_config__ = _STRICT

    start: Literal["auto", "imagenet", "random"] = "auto"
    epochs: Annotated[int, Ge(1)] = 6
    batch_size: Annotated[int, Ge(1)] = 16
    drop_last: bool = True
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: Annotated[float, Gt(0)] = 1e-4
    weight_decay: Annotated[float, Ge(0)] = 0.0
    betas: tuple[Annotated[float, Ge(0), Lt(1)], Annotated[float, Ge(0), Lt(1)]] = (0.9, 0.99)
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9
    schedule: Literal["constant", "cosine", "one_cycle", "step"] = "constant"
    warmup_fraction: Annotated[float, Gt(0), Lt(1)] = 0.3
    cosine_epochs: Annotated[int, Ge(1)] | None = None
    step_epochs: tuple[Annotated[int, Ge(1)], ...] = ()
    step_factor: Annotated[float, Gt(0), Le(1)] = 0.1
    label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0
    shift_pixels: Annotated[int, Ge(0)] = 0
    horizontal_flip: bool = False
    rand_augment: tuple[Annotated[int, Ge(1)], Annotated[int, Ge(0), Le(30)]] | None = None
    cutout: tuple[Annotated[int, Ge(1)], Annotated[int, Ge(1)]] | None = None
    balance_classes: bool = False
    max_gradient_norm: Annotated[float, Gt(0)] | None = None
    precision: Precision = "fp32"
    channels_last: bool = True


@dataclass(frozen=True, kw_only=True)
class TreeSettings:
    """How a tree of networks is grown; see docs/trunk.md.

    A node is trained first to tell its classes apart, then to choose among its groups: the root
    by `Settings.training` and `grouping`, the nodes below by `class_below` and `grouping_below`
    (None: as the root).

    Attributes:
        backbone: The family of node networks.
        layers_by_outputs: Layer lists by number of outputs, for nodes below the root.
        volatility: Grouping volatility v; a larger one groups less.
        root_volatility: That of the root, where it is another.
        held_out: Share of the training images that only grouping and folding look at; 0: none,
            they look at the training images.
        grouping: Trains a node to choose among its groups.
        class_below: Trains the nodes below the root to tell their classes apart.
        grouping_below: Trains the nodes below the root to choose among their groups.
        dropout: Probability in the dropout layers of the backbone; None: the backbone's own.
        warm_start: Whether a node's second training starts from the features of its first.
        feature_views: How many times the images are augmented anew for the kept feature maps.
        fold: Whether a node that is worse than leaves in its place is taken out.
        joint: Trains all nodes together on the true path at the end; None: not done.
    """

    __pydantic_config__ = _STRICT

    backbone: Literal["compact", "mobilenet", "vgg"] = "compact"
    layers_by_outputs: dict[int, str] = field(default_factory=dict)
    volatility: Annotated[float, Gt(0)] = 1.0
    root_volatility: Annotated[float, Gt(0)] | None = None
    held_out: Annotated[float, Ge(0), Lt(1)] = 0.0
    grouping: TrainingSettings = field(default_factory=TrainingSettings)
    class_below: TrainingSettings | None = None
    grouping_below: TrainingSettings | None = None
    dropout: Annotated[float, Ge(0), Lt(1)] | None = None
    warm_start: bool = False
    feature_views: Annotated[int, Ge(1)] = 1
    fold: bool = False
    joint: TrainingSettings | None = None


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How accuracy is taken."""

    __pydantic_config__ = _STRICT

    batch_size: Annotated[int, Ge(1)] = 16
    precision: Precision = "fp32"


@dataclass(frozen=True, kw_only=True)
class MeasurementSettings:
    """How long and how often costs are measured."""

    __pydantic_config__ = _STRICT

    latency_rounds: Annotated[int, Ge(20)] = 100
    latency_seconds: Annotated[float, Gt(0)] = 10.0
    throughput_batch_sizes: tuple[Annotated[int, Ge(1)], ...] = (1, 4, 16, 64)
    throughput_seconds: Annotated[float, Gt(0)] = 2.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that a cell's result depends on, apart from code, data and machine.

    `image_size` and the statistics are those of the model and of the data set where None.
    Training writes a checkpoint after each epoch, and every `checkpoint_minutes` within one.
    `tree` is for models that are grown; None for the others.
    """

    __pydantic_config__ = _STRICT

    seed: Annotated[int, Ge(0)] = 42
    threads: Annotated[int, Ge(1)] | None = None
    weights: WeightsChoice = "auto"
    image_size: Annotated[int, Ge(1)] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[Annotated[float, Gt(0)], ...] | None = None
    normalize: bool = True
    memory_limit_gb: Annotated[float, Gt(0)] = 4.0
    checkpoint_minutes: Annotated[float, Ge(0)] = 5.0
    training: TrainingSettings = field(default_factory=TrainingSettings)
    tree: TreeSettings | None = None
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    measurement: MeasurementSettings = field(default_factory=MeasurementSettings)


@dataclass(frozen=True, kw_only=True)
class Job:
    """A cell with everything that running it takes; survives a trip through JSON.

    Attributes:
        cell: What to run.
        settings: How.
        data_dir: Folder of the official images.
        data_file: What stands in for them, if anything.
        weights_dir: Folder of trained and fetched weights.
        published_dir: Folder that has published weights already, if any.
        results_dir: Folder of the records.
        offline: Never use the network.
        command: What would run this cell again, for the record.
    """

    cell: Cell
    settings: Settings
    data_dir: Path
    data_file: Path | None
    weights_dir: Path
    published_dir: Path | None = None
    results_dir: Path
    offline: bool
    command: str

    def __str__(self) -> str:
        return str(self.cell)


@dataclass(frozen=True, kw_only=True)
class LatencyJob:
    """Cells of one data set and device whose latency is compared; survives a trip through JSON.

    Attributes:
        jobs: The cells.
        reference: The model that the others are compared with, one of them.
        runtimes: What runs each of them; the reference is timed in the first.
        command: What would compare them again.
    """

    jobs: tuple[Job, ...]
    reference: str
    runtimes: tuple[Runtime, ...]
    command: str

    def __str__(self) -> str:
        first = self.jobs[0].cell
        return f"{first.dataset}/latency-{first.device}"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asks for, not yet checked against anything.

    Attributes:
        datasets: Names, comma lists or `all`; may be empty when there is a `data_file`.
        models: Names, comma lists or `all`.
        device: auto, cpu or cuda.
        overrides: Settings by dotted key.
        assignments: Further settings, as `key=value`.
        data_dir: Folder of the official images.
        data_file: What stands in for them.
        weights_dir: Folder of trained and fetched weights.
        published_dir: Folder that has published weights already.
        recipe: Settings of the model to use in place of the usual ones.
        results_dir: Folder of the records.
        offline: Never use the network.
        force: Run cells that are done, too.
        verbose: Log every step.
        measure: all, or latency: of all models side by side, and nothing else.
        runtimes: What runs the models then: names or comma lists.
        reference: The model that the others are compared with then; empty: ResNet-50 where it is
            among them, else the first.
    """

    datasets: list[str]
    models: list[str]
    device: str
    overrides: Mapping[str, Any]
    assignments: list[str]
    data_dir: Path
    data_file: Path | None
    weights_dir: Path
    published_dir: Path | None = None
    recipe: str = ""
    results_dir: Path
    offline: bool
    force: bool
    verbose: bool
    measure: str = "all"
    runtimes: list[str] = field(default_factory=list)
    reference: str = ""
