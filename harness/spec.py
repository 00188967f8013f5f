"""The words of the harness: models, data sets, cells and jobs.

The leaf that everyone imports. It imports nothing heavy, so that listing models and data sets
costs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge

from harness.settings_spec import Compression, Settings

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

Device = Literal["cpu", "cuda"]
Runtime = Literal["eager", "compile", "onnxruntime", "openvino"]
StateDict = dict[str, "Tensor"]
_STRICT = {"extra": "forbid"}


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
        describe: `describe(network, make)` returns what `rebuild` needs of a network that is not
            as built, as JSON holds it; `make()` builds one.
        rebuild: `rebuild(structure, make)` makes that network, with any weights, from what
            `describe` returned.
        load_published: Returns the network with published weights that are not one file for
            `build`, and a digest of them; takes the job and the number of classes.
        section: The section of the settings that is for such models alone; empty: none is.
        base: Name of the model that this one is made from, whose recipe `Settings.training` is
            and whose trained network `fit` is given; empty: none.
        compress: `compress(network, settings, channels)` makes of a network of `base`, whatever
            its weights, what `fit` would make of a trained one, without training.
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
    describe: Callable[[nn.Module, Callable[[], nn.Module]], dict[str, Any]] | None = None
    rebuild: Callable[[dict[str, Any], Callable[[], nn.Module]], nn.Module] | None = None
    load_published: Callable[[Job, int], tuple[nn.Module, str]] | None = None
    section: Literal["", "tree", "quantization", "pruning"] = ""
    base: str = ""
    compress: Callable[[nn.Module, Settings, int], nn.Module] | None = None
    paper: str = ""
    devices: tuple[Device, ...] = ("cpu", "cuda")


@dataclass(frozen=True, kw_only=True)
class CompressedSpec:
    """A model that another one becomes in one more step; `harness.registry` makes a `ModelSpec`.

    Attributes:
        label: The name in tables.
        base: Name of the model that is compressed: a convolutional network, not compressed itself.
        compression: What is done to it: `Settings.quantization` or `Settings.pruning` says how.
    """

    label: str
    base: str
    compression: Compression


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
        trackers: What takes note of the run, by name; it changes no result.
        runs_dir: Folder of what trackers write here.
        repeat: Whether its record is to lie beside the cell's, as that of another seed.
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
    trackers: tuple[str, ...] = ()
    runs_dir: Path | None = None
    repeat: bool = False

    def __str__(self) -> str:
        return f"{self.cell}{f', seed {self.settings.seed}' if self.repeat else ''}"


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

    @property
    def reference_name(self) -> str:
        """What the reference's row is called: `LatencyRow.name`."""
        return f"{self.reference} in {self.runtimes[0]}"

    @property
    def processes(self) -> int:
        """How many processes time the models, one after the other."""
        return self.jobs[0].settings.measurement.latency_processes


@dataclass(frozen=True, kw_only=True)
class TimingJob:
    """What one of the processes of a comparison is told; survives a trip through JSON.

    Attributes:
        comparison: What is compared.
        number: Of the process, from 0 on.
        answer: The file to write what was found to.
    """

    comparison: LatencyJob
    number: int
    answer: Path

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The cells that are compared."""
        return self.comparison.jobs

    def __str__(self) -> str:
        return str(self.comparison)


@dataclass(frozen=True, kw_only=True)
class CostJob:
    """Models whose costs are counted at the shape of a data set; survives a trip through JSON.

    Attributes:
        jobs: One for each model.
    """

    # A comparison of latencies must not pass for one.
    __pydantic_config__ = _STRICT

    jobs: tuple[Job, ...]

    def __str__(self) -> str:
        return f"{self.jobs[0].cell.dataset}/cost"


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
        measure: all, or one thing and nothing else: latency of all models side by side, or cost,
            which is counted.
        runtimes: What runs the models then: names or comma lists.
        reference: The model that the others are compared with then; empty: ResNet-50 where it is
            among them, else the first.
        trackers: What takes note of runs: names or comma lists; empty: TensorBoard's files.
        runs_dir: Folder of what trackers write here; None: nothing is tracked.
        fair: Refuse cells whose accuracies could not be compared.
        seeds: Seeds to run each cell with, as a comma list; empty: that of the settings alone.
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
    trackers: list[str] = field(default_factory=list)
    runs_dir: Path | None = None
    fair: bool = False
    seeds: str = ""
