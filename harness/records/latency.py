"""The record of a comparison of latencies: one JSON file for a data set, device and threads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from harness.jobs import Device
from harness.records.consistency import ascend, percentiles_of
from harness.records.parts import Amount, Count, Machine, Positive, Provenance
from harness.records.store import STRICT, Store, nest_parts


@dataclass(frozen=True, kw_only=True)
class LatencyRow:
    """One model in one runtime, timed in the same rounds as the others.

    Attributes:
        runtime: eager, compile, onnxruntime or openvino.
        runtime_method: Version and options of the runtime.
        weights_origin: trained, published, imagenet or random.
        weights_sha256: Digest of the weights file, if there is one.
        max_difference: Largest difference from the logits of eager torch, as a share of the largest
            of them.
        latency_ms_p05: 5th percentile of the time of one image, its data already on the device.
        ratio: Median over the processes of `ratio_by_process`.
        ratio_low: Lower end of the ratio's 95% bootstrap interval, over processes and rounds.
        reason: Why the model was not timed; None where it was.
        ratio_by_process: For each process, the median over its rounds of the time divided by the
            reference's; empty in records older than this field.
    """

    model: str
    label: str
    runtime: str
    runtime_method: str = ""
    weights_origin: str = ""
    weights_sha256: str | None = None
    image_size: Count = 0
    max_difference: Amount | None = None
    latency_ms_p05: Amount | None = None
    latency_ms_p50: Amount | None = None
    latency_ms_p95: Amount | None = None
    latency_ms_p99: Amount | None = None
    ratio: Amount | None = None
    ratio_low: Amount | None = None
    ratio_high: Amount | None = None
    reason: str | None = None
    ratio_by_process: list[Amount] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The row's unique name in the comparison."""
        return f"{self.model} in {self.runtime}"


@dataclass(frozen=True, kw_only=True)
class LatencyRecord:
    """Latencies of models of one data set and device, timed side by side in several processes.

    Attributes:
        schema: Version of this layout.
        dataset: The data set's name.
        device: cpu or cuda.
        reference: The model that the others are compared with.
        reference_runtime: The runtime of the reference.
        processes: Number of processes, one after the other.
        rounds: Number of rounds of all processes together.
        drift: Change of the reference's median from the first to the last third of the rounds of a
            process, as a share; the largest of all processes.
        drifted: Whether the drift was still too large after all reruns.
        reruns: Number of times that a process repeated its rounds because of drift.
        method: The clock, and what precedes each timed call.
        rows: One row for each model and runtime.
        data_name: Name of the source of the images.
        data_sha256: Digest of the images.
        seed: Seed of the order of the models.
        machine: The machine, with the largest load during any of the processes.
        provenance: Code, time, command and environment.
    """

    __pydantic_config__ = STRICT

    schema: Literal[2] = 2
    dataset: str
    device: Device
    reference: str
    reference_runtime: str
    processes: Positive = 1
    rounds: Count
    drift: float
    drifted: bool
    reruns: Count
    method: str
    rows: tuple[LatencyRow, ...]
    data_name: str
    data_sha256: str
    seed: Count
    machine: Machine
    provenance: Provenance


def latency_place(dataset: str, device: str, threads: int) -> Path:
    """Return where the comparison of a data set and device is kept below a results folder."""
    return Path("latency") / f"{dataset}-{device}-{threads}t.json"


def _contradictions(record: LatencyRecord) -> Iterator[str]:
    if len({row.name for row in record.rows}) < len(record.rows):
        yield "rows: a model stands twice in a runtime"
    for row in record.rows:
        ratios = (row.ratio_low, row.ratio, row.ratio_high)
        times = percentiles_of(row)
        if len({figure is None for figure in (*ratios, *times)}) > 1:
            yield f"rows: {row.name}: a latency or ratio is missing"
        if not ascend(*times):
            yield f"rows: {row.name}: the percentiles do not ascend"
        if not ascend(*ratios):
            yield f"rows: {row.name}: ratio is outside its interval"
        if len(row.ratio_by_process) not in (0, record.processes):
            yield f"rows: {row.name}: ratio_by_process is not of {record.processes} processes"


LATENCIES = Store(
    kind="comparison",
    cls=LatencyRecord,
    schema=LatencyRecord.schema,
    pattern="latency/*.json",
    place=lambda record: latency_place(record.dataset, record.device, record.machine.threads),
    migrate=partial(nest_parts, LatencyRecord),
    contradictions=_contradictions,
)
"""The comparisons of a results folder, by data set, device and number of threads."""
