"""The record of a cell: one JSON file, the only source of every table and figure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from harness.errors import CellError, RequestError
from harness.jobs import Cell, Job
from harness.records import parts
from harness.records.consistency import ascend, check_accuracy, percentiles_of
from harness.records.store import STRICT, Store, Tree, nest_parts, parts_of
from harness.settings import settings_hash
from harness.util.files import atomic_path

Status = Literal["ok", "failed", "unsupported"]


@dataclass(frozen=True, kw_only=True)
class Record:
    """One cell: what was measured, on what, with what.

    A figure that was not measured is None, and `not_measured` gives the reason under its name.
    The order of the fields is part of the format.

    Attributes:
        schema: Version of this layout.
        cell: The data set, model and device.
        label: Name of the model in tables.
        status: ok; failed (it broke while it ran); unsupported (it cannot run here).
        reason: Why it is not ok.
        settings: The settings of the run, and the seed and image size among them.
        weights: The weights that were measured.
        data: The images.
        accuracy: The accuracy on the test images.
        latency: The time of one image; the precision is fp32, or int8 for an int8 network.
        throughput: The speed in batches.
        memory: Memory of weights and activations.
        operations: Parameters and arithmetic.
        energy: Energy and cache use.
        paths: The costs of each path through a routed network, cheapest first. The figures above
            are means over the test images then, and peak memory is the largest.
        compression: What a compressed model was made from; None for other models.
        machine: What the measurement ran on.
        provenance: Code, time, command and environment.
        not_measured: Reasons, by the name of the field that is None.
    """

    __pydantic_config__ = STRICT

    schema: Literal[2] = 2
    cell: Cell
    label: str
    status: Status
    reason: str | None = None
    settings: parts.UsedSettings = field(default_factory=parts.UsedSettings)
    weights: parts.Weights = field(default_factory=parts.Weights)
    data: parts.Data = field(default_factory=parts.Data)
    accuracy: parts.Accuracy = field(default_factory=parts.Accuracy)
    latency: parts.Latency = field(default_factory=parts.Latency)
    throughput: parts.Throughput = field(default_factory=parts.Throughput)
    memory: parts.Memory = field(default_factory=parts.Memory)
    operations: parts.Operations = field(default_factory=parts.Operations)
    energy: parts.Energy = field(default_factory=parts.Energy)
    paths: tuple[parts.PathCosts, ...] = ()
    compression: parts.Compression | None = None
    machine: parts.Machine = field(default_factory=parts.Machine)
    provenance: parts.Provenance = field(default_factory=parts.Provenance)
    not_measured: dict[str, str] = field(default_factory=dict)

    @cached_property
    def flat(self) -> dict[str, Any]:
        """All fields of the record and of its parts by name, as JSON holds them, without parts."""
        tree = dataclasses.asdict(self)
        return {name: tree[name] for name in tree if name not in PARTS} | {
            name: value for part in PARTS for name, value in tree[part].items()
        }

    @property
    def stem(self) -> str:
        """The name of files about this record, without their ending."""
        repeat_seed = self.settings.seed if self.settings.repeat else None
        return _stem(self.cell.model, self.cell.device, self.published, repeat_seed)

    @property
    def title(self) -> str:
        """The name of the model in tables and figures."""
        notes = ["published weights"] if self.published else []
        notes += [f"beam {self.beam}"] if self.beam != 1 else []
        return self.label + (f" ({', '.join(notes)})" if notes else "")

    @property
    def beam(self) -> Any:
        """The largest number of paths of an image; 1 in records of versions without the setting."""
        return self.settings.settings.get("evaluation", {}).get("beam", 1)

    @property
    def published(self) -> bool:
        """Whether the published weights were asked for."""
        return bool(self.settings.settings.get("weights") == "published")


def _stem(model: str, device: str, published: bool, repeat_seed: int | None) -> str:
    seed = "" if repeat_seed is None else f"-seed{repeat_seed}"
    return f"{model}{'-published' if published else ''}-{device}{seed}"


PARTS = parts_of(Record)
"""The classes of the record's parts by name, but for `paths` and `compression`."""
_CONTAINERS = {
    *("settings", "history", "classes", "data_notes", "accuracy_fp32_check", "confusion_matrix"),
    *("cores", "load", "environment"),
}
SCALARS = (
    *("dataset", "model", "device", "label", "status", "reason"),
    *(
        field.name
        for part, cls in PARTS.items()
        for field in dataclasses.fields(cls)
        if part != "cell" and field.name not in _CONTAINERS
    ),
)
"""The names of the fields of `Record.flat` that hold a single value."""


def _nest(fields: Tree) -> Tree:
    # Schema 1 had an empty mapping for what was not there.
    absent = {name: fields.get(name) or None for name in ("compression", "load")}
    return nest_parts(Record, fields | absent)


def _contradictions(record: Record) -> Iterator[str]:
    yield from check_accuracy(record.accuracy)
    settings, operations, found = record.settings.settings, record.operations, record.compression
    if not ascend(*percentiles_of(record.latency)):
        yield "latency: the percentiles do not ascend"
    for name in ("training", "evaluation", "measurement"):
        if not isinstance(settings.get(name, {}), Mapping):
            yield f"settings.settings.{name} is no section"
    if not ascend(operations.params_trainable, operations.params):
        yield "operations.params_trainable is above params"
    epochs, logged = record.weights.epochs, len(record.weights.history)
    if logged not in (0, epochs):
        yield f"weights.epochs is {epochs}, weights.history has {logged}"
    if found and not ascend(
        found.latency_ratio_to_base_low,
        found.latency_ratio_to_base,
        found.latency_ratio_to_base_high,
    ):
        yield "compression.latency_ratio_to_base is outside its interval"
    if not isinstance(record.provenance.environment.get("libraries", {}), Mapping):
        yield "provenance.environment.libraries are not by name"
    if record.status == "ok":
        yield from _contradictions_of_whole(record)


def _contradictions_of_whole(record: Record) -> Iterator[str]:
    if not record.settings.settings:
        yield "settings.settings are empty"
    classes, rows = record.data.classes, len(record.accuracy.confusion_matrix)
    if rows not in (0, len(classes)):
        yield f"data.classes are {len(classes)}, accuracy.confusion_matrix has {rows} rows"
    if len(set(classes)) < len(classes):
        yield "data.classes: a name stands twice"


CELLS = Store(
    kind="record",
    cls=Record,
    schema=Record.schema,
    pattern="records/*/*.json",
    place=lambda record: Path("records") / record.cell.dataset / f"{record.stem}.json",
    migrate=_nest,
    contradictions=_contradictions,
)
"""The records of a results folder, by data set, then model, then device."""


def used_settings(job: Job) -> parts.UsedSettings:
    """Return the settings of a job as its record holds them."""
    return parts.UsedSettings(
        image_size=job.settings.image_size or 0,
        seed=job.settings.seed,
        repeat=job.repeat,
        settings_hash=settings_hash(job.settings),
        settings=dataclasses.asdict(job.settings),
    )


def find_record(
    results: Path, cell: Cell, *, published: bool = False, repeat_seed: int | None = None
) -> Record | None:
    """Return the record that a cell left, if any; refuse what is none or is another cell's."""
    stem = _stem(cell.model, cell.device, published, repeat_seed)
    return CELLS.find(results, Path("records") / cell.dataset / f"{stem}.json")


def check_writable(results: Path) -> None:
    """Refuse a folder that records cannot be written to, before anything runs."""
    probe = results / ".writable"
    try:
        with atomic_path(probe) as temporary:
            temporary.touch()
        probe.unlink()
    except CellError as error:
        raise RequestError(f"results folder {results}: {error}") from None
