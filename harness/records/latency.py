"""What a comparison of latencies leaves behind: one JSON file, as a cell leaves its record."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.jobs import Device
from harness.records.store import STRICT, read_all, read_stored
from harness.util.files import write_text

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class LatencyRow:
    """One model in one runtime, timed in the same rounds as the others.

    Attributes:
        model: The model's name.
        label: Its name in tables.
        runtime: eager, compile, onnxruntime or openvino.
        runtime_method: Its version and the options that matter.
        weights_origin: trained, published, imagenet or random.
        weights_sha256: Of the weights file, if there is one.
        image_size: Side of the image, pixels.
        max_difference: Largest difference of its logits from eager's, as a share of the largest.
        latency_ms_p05: 5th percentile over rounds, of one image, data on the device.
        latency_ms_p50: Median.
        latency_ms_p95: 95th percentile.
        latency_ms_p99: 99th percentile.
        ratio: Median over the processes of `ratio_by_process`.
        ratio_low: Lower end of the ratio's 95% bootstrap interval, over processes and rounds.
        ratio_high: Upper end.
        reason: Why it was not timed; the figures are None then.
        ratio_by_process: Median over the rounds of a process of its time divided by the
            reference's; empty in records of before several processes were.
    """

    __pydantic_config__ = STRICT

    model: str
    label: str
    runtime: str
    runtime_method: str = ""
    weights_origin: str = ""
    weights_sha256: str | None = None
    image_size: int = 0
    max_difference: float | None = None
    latency_ms_p05: float | None = None
    latency_ms_p50: float | None = None
    latency_ms_p95: float | None = None
    latency_ms_p99: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    reason: str | None = None
    ratio_by_process: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What no other row of the comparison is called."""
        return f"{self.model} in {self.runtime}"


@dataclass(frozen=True, kw_only=True)
class LatencyRecord:
    """Models of one data set and device, timed side by side in one process after the other.

    Attributes:
        schema: Version of this layout.
        dataset: The data set's name.
        device: cpu or cuda.
        device_name: The processor or GPU.
        threads: CPU threads.
        cores: The hardware threads that they were kept on, in any of the processes; None: they
            were not.
        reference: The model that the others are compared with.
        reference_runtime: What ran it.
        processes: In how many processes.
        rounds: How often each was timed, in all of them.
        drift: By how much the reference's median moved from the first to the last third of a
            process's rounds; the largest of the processes.
        drifted: Whether that was too much, after all reruns.
        reruns: How often all rounds of a process were thrown away for drifting, in all of them.
        method: How each call was timed.
        load: What else the machine did meanwhile; the largest shares of the processes.
        busy: Why it counts as busy; None: it does not.
        rows: One for each model and runtime.
        data_name: Where the images come from.
        data_sha256: Their digest.
        seed: Of the order.
        environment: The machine and the versions.
        git_commit: Of this project.
        git_dirty: Whether the working tree differed from that commit.
        started: UTC, ISO 8601.
        duration_s: Of the whole comparison.
        command: What would compare them again.
    """

    __pydantic_config__ = STRICT

    schema: int = SCHEMA
    dataset: str
    device: Device
    device_name: str
    threads: int
    cores: list[int] | None
    reference: str
    reference_runtime: str
    processes: int = 1
    rounds: int
    drift: float
    drifted: bool
    reruns: int
    method: str
    load: dict[str, Any]
    busy: str | None
    rows: tuple[LatencyRow, ...]
    data_name: str
    data_sha256: str
    seed: int
    environment: dict[str, Any] = field(default_factory=dict)
    git_commit: str | None
    git_dirty: bool | None
    started: str
    duration_s: float
    command: str


def latency_path(results: Path, dataset: str, device: str, threads: int) -> Path:
    """Return where the comparison of a data set and device with so many threads is kept."""
    return results / "latency" / f"{dataset}-{device}-{threads}t.json"


def write_latency_record(results: Path, record: LatencyRecord) -> Path:
    """Write a comparison in place of an earlier one; return its path.

    Raises:
        CellError: It cannot be written.
    """
    path = latency_path(results, record.dataset, record.device, record.threads)
    write_text(path, json.dumps(dataclasses.asdict(record), indent=1, allow_nan=False) + "\n")
    return path


def read_latency_records(results: Path) -> list[LatencyRecord]:
    """Return all comparisons, by data set, device and threads.

    Those of an older version are named in the log and left out.

    Raises:
        RequestError: A file is no comparison, or one that does not belong where it lies.
    """
    return read_all(
        results.glob("latency/*.json"),
        lambda path: read_stored(path, LatencyRecord, "comparison", SCHEMA),
        lambda each: latency_path(results, each.dataset, each.device, each.threads),
    )
