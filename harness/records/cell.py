"""What a cell leaves behind: one JSON file, the only source of every table and figure."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.errors import CellError, RequestError
from harness.jobs import Cell, Device
from harness.records.store import STRICT, OutdatedError, check_place, read_all, read_stored
from harness.util.files import atomic_path, write_text

SCHEMA = 1

Status = Literal["ok", "failed", "unsupported"]


@dataclass(frozen=True, kw_only=True)
class Record:
    """One cell: what was measured, on what, with what.

    A figure that was not measured is None, and `not_measured` gives the reason under its name.

    Attributes:
        schema: Version of this layout.
        dataset: The data set's name.
        model: The model's name.
        label: The model's name in tables.
        device: cpu or cuda.
        status: ok; failed (it broke while it ran); unsupported (it cannot run here).
        reason: Why it is not ok.
        accuracy_top1: Percent of the test images.
        accuracy_top1_low: Lower end of its 95% Wilson interval, percent.
        accuracy_top1_high: Upper end, percent.
        accuracy_top5: Percent.
        n_test: Number of test images.
        accuracy_method: How they were run: what was done to the network, precision, batch size.
        accuracy_fp32_check: In bf16, what fp32 makes of some of the test images: how many images,
            top-1 accuracy of them either way in percent, and how many changed class.
        evaluation_images_per_s: Speed of the accuracy pass, loading and resizing included.
        confusion_matrix: Counts; rows are true classes, columns predictions.
        predictions_sha256: Of the class that each test image was given, kept in
            `results/predictions/`.
        test_labels_sha256: Of the test images' labels in their order.
        latency_ms_p05: 5th percentile of the time an image takes at batch 1, data on the device.
        latency_ms_p50: Its median.
        latency_ms_p95: 95th percentile.
        latency_ms_p99: 99th percentile.
        latency_rounds: How many times it was taken.
        throughput_images_per_s: At the batch size where it is largest.
        throughput_batch_size: That batch size.
        throughput_peak_share: Its arithmetic as a share of `peak_gflops_per_s`.
        peak_gflops_per_s: What the device reached in one large product, fp32, 10^9 a second.
        peak_memory_mb: Largest sum of live activations of one image's forward pass, MB (10^6).
        peak_process_mb: The same as the process's own high-water mark shows it, MB.
        peak_training_memory_mb: The same of a training step at the recipe's batch size: saved
            activations, gradients and the optimizer's state, in fp32.
        energy_j_per_image: Joules, by the device's own counters, at the batch size of the
            throughput.
        cache_references_per_image: By hardware counters, at batch 1.
        cache_misses_per_image: Likewise.
        weights_mb: Bytes of parameters and buffers, MB.
        params: Number of parameters.
        params_trainable: Of these, those that training may change: all, unless layers are frozen.
        gmacs: True multiply-accumulates of one image, 10^9.
        gflops: Two operations to a multiply-accumulate, 10^9.
        gmacs_thop: What thop counts, 10^9 (the published "G-Flops").
        paths: For a network that sends images different ways, of which the figures above are means
            (peak memory: the largest): the costs of each way, cheapest first, and its test images.
        compression: For a compressed model: its base and the method; of the base: digest of the
            weights, what they started from, epochs, seconds of training, accuracy, parameters,
            MACs and MB of weights; accuracy on the way; wanted and reached speed-up; and the
            latency as a multiple of the base's in the same rounds, with its 95% interval.
        device_name: The processor or GPU.
        threads: CPU threads.
        cores: The hardware threads that they were kept on while costs were measured; None: none.
        load: What else the machine did meanwhile.
        busy: Why it counts as busy; None: it does not.
        precision: Of the accuracy pass; latency and throughput are fp32, or int8 where it is.
        weights_origin: trained, published, imagenet or random.
        weights_sha256: Of the weights file; None for random and imagenet weights.
        start: What training started from: imagenet, random, or the trained weights of a model.
        epochs: Epochs trained.
        training_seconds: Sum over the epochs.
        training_precision: fp32 or bf16.
        history: One entry an epoch: epoch, loss, accuracy, learning_rate, seconds; and its stage,
            where there were several.
        image_size: Side of the images at the network's input, pixels.
        classes: Class names in the order of the labels.
        data_name: Where the images come from.
        data_sha256: Their digest.
        data_digest_of: What the digest is taken over.
        data_official: Whether train and test are the official split.
        seed: Of every random choice.
        repeat: Whether this is a run with another seed beside the cell's record, see `--seeds`.
        settings_hash: Of all settings.
        settings: The settings themselves.
        environment: The machine and the versions.
        git_commit: Of this project.
        git_dirty: Whether the working tree differed from that commit.
        started: UTC, ISO 8601.
        duration_s: Of the whole cell.
        command: What would run this cell again.
        not_measured: Reasons, by the name of the field that is None.
    """

    __pydantic_config__ = STRICT

    schema: int = SCHEMA
    dataset: str
    model: str
    label: str
    device: Device
    status: Status
    reason: str | None = None
    accuracy_top1: float | None = None
    accuracy_top1_low: float | None = None
    accuracy_top1_high: float | None = None
    accuracy_top5: float | None = None
    n_test: int | None = None
    accuracy_method: str = ""
    predictions_sha256: str | None = None
    test_labels_sha256: str | None = None
    evaluation_images_per_s: float | None = None
    latency_ms_p05: float | None = None
    latency_ms_p50: float | None = None
    latency_ms_p95: float | None = None
    latency_ms_p99: float | None = None
    latency_rounds: int | None = None
    throughput_images_per_s: float | None = None
    throughput_batch_size: int | None = None
    throughput_peak_share: float | None = None
    peak_gflops_per_s: float | None = None
    peak_memory_mb: float | None = None
    peak_process_mb: float | None = None
    peak_training_memory_mb: float | None = None
    energy_j_per_image: float | None = None
    cache_references_per_image: float | None = None
    cache_misses_per_image: float | None = None
    weights_mb: float | None = None
    params: int | None = None
    params_trainable: int | None = None
    gmacs: float | None = None
    gflops: float | None = None
    gmacs_thop: float | None = None
    device_name: str = ""
    threads: int = 0
    busy: str | None = None
    precision: str = "fp32"
    weights_origin: str = ""
    weights_sha256: str | None = None
    start: str | None = None
    epochs: int | None = None
    training_seconds: float | None = None
    training_precision: str | None = None
    image_size: int = 0
    data_name: str = ""
    data_sha256: str = ""
    data_digest_of: str = ""
    data_official: bool = False
    seed: int = 0
    repeat: bool = False
    settings_hash: str = ""
    git_commit: str | None = None
    git_dirty: bool | None = None
    started: str = ""
    duration_s: float = 0.0
    command: str = ""
    not_measured: dict[str, str] = field(default_factory=dict)
    accuracy_fp32_check: dict[str, Any] = field(default_factory=dict)
    cores: list[int] | None = None
    load: dict[str, Any] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    confusion_matrix: list[list[int]] = field(default_factory=list)
    paths: list[dict[str, Any]] = field(default_factory=list)
    compression: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)

    @property
    def cell(self) -> Cell:
        """The cell that left this record."""
        return Cell(dataset=self.dataset, model=self.model, device=self.device)

    @property
    def stem(self) -> str:
        """What files about this record are called."""
        return _stem(self.cell, self.published, self.seed if self.repeat else None)

    @property
    def title(self) -> str:
        """What to call the model in tables and figures."""
        return self.label + (" (published weights)" if self.published else "")

    @property
    def published(self) -> bool:
        """Whether the published weights were asked for."""
        return bool(self.settings.get("weights") == "published")


def record_path(
    results: Path, cell: Cell, *, published: bool = False, repeat_seed: int | None = None
) -> Path:
    """Return where the record of a cell lies.

    One of published weights has a place of its own, and so has each run with another seed.
    """
    return results / "records" / cell.dataset / f"{_stem(cell, published, repeat_seed)}.json"


def _stem(cell: Cell, published: bool, repeat_seed: int | None) -> str:
    seed = "" if repeat_seed is None else f"-seed{repeat_seed}"
    return f"{cell.model}{'-published' if published else ''}-{cell.device}{seed}"


def write_record(results: Path, record: Record) -> Path:
    """Write a record atomically, a field a line.

    Raises:
        CellError: The disk is full or the folder cannot be written to.
    """
    lines = [f'  "{key}": {json.dumps(value)}' for key, value in dataclasses.asdict(record).items()]
    path = _place(results, record)
    write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")
    return path


def read_record(path: Path) -> Record:
    """Read one record.

    Raises:
        OutdatedError: It is of an older version.
        RequestError: It is no record.
    """
    return read_stored(path, Record, "record", SCHEMA)


def find_record(
    results: Path, cell: Cell, *, published: bool = False, repeat_seed: int | None = None
) -> Record | None:
    """Return the record that a cell left, if any that this version of the project can use.

    Raises:
        RequestError: What lies there is no record, or that of another cell.
    """
    path = record_path(results, cell, published=published, repeat_seed=repeat_seed)
    if not path.exists():
        return None
    try:
        record = read_record(path)
    except OutdatedError:
        return None
    check_place(path, _place(results, record))
    return record


def read_records(results: Path) -> list[Record]:
    """Return all records, by data set, then model, then device.

    Those of an older version are named in the log and left out.

    Raises:
        RequestError: A file is no record, or a record that does not belong where it lies.
    """
    paths = results.glob("records/*/*.json")
    return read_all(paths, read_record, lambda record: _place(results, record))


def _place(results: Path, record: Record) -> Path:
    return results / "records" / record.dataset / f"{record.stem}.json"


def check_writable(results: Path) -> None:
    """Make sure that records can be written before anything runs.

    Raises:
        RequestError: They cannot.
    """
    probe = results / ".writable"
    try:
        with atomic_path(probe) as temporary:
            temporary.touch()
        probe.unlink()
    except CellError as error:
        raise RequestError(f"results folder {results}: {error}") from None
