"""The cells of a run, and what running them takes. This module imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.settings_spec import Settings

Device = Literal["cpu", "cuda"]
Runtime = Literal["eager", "compile", "onnxruntime", "openvino"]


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
        data_dir: Folder of the official images.
        data_file: Images that replace them, if any.
        published_dir: Folder that has published weights already, if any.
        command: The command line that runs this cell again, for the record.
        trackers: Names of the trackers of the run; they change no result.
        runs_dir: Folder of the trackers' files; None: nothing is tracked.
        repeat: Whether its record is to lie beside the cell's, as that of another seed.
        trained_on: The device that the network is trained on, where that is not the cell's.
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
    trained_on: Device | None = None

    @property
    def training_device(self) -> Device:
        """The device that the network is trained on."""
        return self.trained_on or self.cell.device

    def __str__(self) -> str:
        return f"{self.cell}{f', seed {self.settings.seed}' if self.repeat else ''}"


@dataclass(frozen=True, kw_only=True)
class LatencyJob:
    """Cells of one data set and device whose latency is compared; survives a trip through JSON.

    Attributes:
        reference: The model that the others are compared with, one of them.
        runtimes: Runtimes that each is timed in; the reference is timed in the first.
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
        """The `LatencyRow.name` of the reference."""
        return f"{self.reference} in {self.runtimes[0]}"

    @property
    def processes(self) -> int:
        """How many processes time the models, one after the other."""
        return self.jobs[0].settings.measurement.latency_processes


@dataclass(frozen=True, kw_only=True)
class CostJob:
    """Models whose costs are counted at the shape of a data set, a job for each."""

    jobs: tuple[Job, ...]

    def __str__(self) -> str:
        return f"{self.jobs[0].cell.dataset}/cost"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asks for, not yet checked against anything.

    The folders, `data_file` and `offline` are as in `Job`.

    Attributes:
        datasets: Names, comma lists or `all`; may be empty when there is a `data_file`.
        models: Names, comma lists or `all`.
        device: auto, cpu, cuda, one of several GPUs as cuda:1, or several: cuda:0,cuda:1, cuda:all.
        overrides: Settings by dotted key.
        assignments: Further settings, as `key=value`.
        recipe: Settings of the model to use in place of the usual ones.
        force: Run cells that are done, too.
        measure: all, or one thing and nothing else: latency of all models side by side, or cost,
            which is counted.
        runtimes: Runtimes of a latency comparison: names or comma lists.
        reference: The model that latencies are compared with; empty: ResNet-50 where it is among
            the models, else the first.
        trackers: Names or comma lists; empty: TensorBoard's files.
        tune: Number of trials of a search for each model's recipe; 0: none is searched.
        tune_budget: Images and epochs of a trial, as 4000x3, in place of the space's.
        tune_space: The search space, in place of `configs/tuning/default.yaml`.
        tune_workers: How many processes share each search; None: one.
        tune_worker: The one of them that this is for, from 1; None: all.
        fair: What must be the same for all cells, settings or budget; empty: nothing.
        seeds: Seeds to run each cell with, as a comma list; None: that of the settings alone.
        launcher: local (child processes of this one) or slurm (jobs of a cluster).
        launcher_config: Settings of the cluster, in place of `configs/launch/slurm.yaml`.
        retry: Run what has failed, and nothing else, up to this often; 0: run all that is not done.
    """

    datasets: list[str]
    models: list[str]
    device: str = "cpu"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    assignments: list[str] = field(default_factory=list)
    data_dir: Path
    data_file: Path | None = None
    weights_dir: Path
    published_dir: Path | None = None
    recipe: str = ""
    results_dir: Path
    offline: bool = False
    force: bool = False
    verbose: bool = False
    measure: str = "all"
    runtimes: list[str] = field(default_factory=list)
    reference: str = ""
    trackers: list[str] = field(default_factory=list)
    runs_dir: Path | None = None
    tune: int = 0
    tune_budget: str = ""
    tune_space: Path | None = None
    tune_workers: int | None = None
    tune_worker: int | None = None
    fair: str = ""
    seeds: str | None = None
    launcher: str = "local"
    launcher_config: Path | None = None
    retry: int = 0


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a request that can run anywhere, as one job.

    Attributes:
        request: What asks for this part alone.
        key: A hash of `request` that names the part among all that were ever submitted.
        model: The model, where it is one.
        after: Key of the part that trains what this one starts from, if that is not trained yet.
        exclusive: Whether nothing else may run beside it.
    """

    title: str
    request: Request
    key: str
    model: str = ""
    after: str | None = None
    exclusive: bool = False


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a part's record says: when it began (UTC, ISO 8601), and why it failed, if it did."""

    started: str
    reason: str | None
