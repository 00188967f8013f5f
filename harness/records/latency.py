"""The record of a comparison of latencies: one JSON file for a data set, device and threads."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from harness.jobs import Device
from harness.records.parts import Machine, Provenance
from harness.records.store import STRICT, Store, nest_parts


@dataclass(frozen=True, kw_only=True)
class LatencyRow:
    """One model in one runtime, timed in the same rounds as the others.

    Attributes:
        model: The model's name.
        label: Its name in tables.
        runtime: eager, compile, onnxruntime or openvino.
        runtime_method: Its version and the options that matter.
        weights_origin: trained, published, imagenet or random.
        weights_sha256: Digest of the weights file, if there is one.
        image_size: Side of the image, pixels.
        max_difference: Largest difference of its logits from eager's, as a share of the largest.
        latency_ms_p05: 5th percentile over rounds of the time of one image, its data already on
            the device.
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
        """The row's unique name in the comparison."""
        return f"{self.model} in {self.runtime}"


@dataclass(frozen=True, kw_only=True)
class LatencyRecord:
    """Models of one data set and device, timed side by side in one process after the other.

    Attributes:
        schema: Version of this layout.
        dataset: The data set's name.
        device: cpu or cuda.
        reference: The model that the others are compared with.
        reference_runtime: What ran it.
        processes: In how many processes.
        rounds: How often each was timed, in all of them.
        drift: By how much the reference's median moved from the first to the last third of a
            process's rounds; the largest of the processes.
        drifted: Whether that was too much, after all reruns.
        reruns: How often all rounds of a process were thrown away for drifting, in all of them.
        method: How each call was timed.
        rows: One for each model and runtime.
        data_name: Where the images come from.
        data_sha256: Their digest.
        seed: Of the order.
        machine: What they ran on; the largest shares of load of the processes.
        provenance: Code, time, command and environment.
    """

    __pydantic_config__ = STRICT

    schema: Literal[2] = 2
    dataset: str
    device: Device
    reference: str
    reference_runtime: str
    processes: int = 1
    rounds: int
    drift: float
    drifted: bool
    reruns: int
    method: str
    rows: tuple[LatencyRow, ...]
    data_name: str
    data_sha256: str
    seed: int
    machine: Machine
    provenance: Provenance


def latency_place(dataset: str, device: str, threads: int) -> Path:
    """Return where the comparison of a data set and device is kept below a results folder."""
    return Path("latency") / f"{dataset}-{device}-{threads}t.json"


LATENCIES = Store(
    kind="comparison",
    cls=LatencyRecord,
    schema=LatencyRecord.schema,
    pattern="latency/*.json",
    place=lambda record: latency_place(record.dataset, record.device, record.machine.threads),
    migrate=partial(nest_parts, LatencyRecord),
)
"""The comparisons of a results folder, by data set, device and number of threads."""
