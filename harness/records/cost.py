"""What counting a model's costs leaves behind: one JSON file for a data set, model and size."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.records.store import STRICT, read_all, read_stored
from harness.util.files import write_text

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class CostPath:
    """One of the ways through a network that sends images different ways, the parts it runs.

    Attributes:
        name: Of the path.
        classes: How many classes are at its end.
        params: Number of parameters.
        weights_mb: Bytes of parameters and buffers, MB.
        file_mb: Size of their file, MB.
        gmacs: True multiply-accumulates of one image, 10^9.
        gmacs_thop: What thop counts, 10^9.
        gmacs_unpadded: As `gmacs`, if no 1×1 convolution were padded; None: none is.
    """

    __pydantic_config__ = STRICT

    name: str
    classes: int
    params: int
    weights_mb: float
    file_mb: float
    gmacs: float
    gmacs_thop: float | None
    gmacs_unpadded: float | None = None


@dataclass(frozen=True, kw_only=True)
class CostRecord:
    """What a model costs at the shape of a data set; none of it depends on images or machine.

    A figure that there is none of is None, and `not_measured` gives the reason under its name.

    Attributes:
        schema: Version of this layout.
        dataset: The data set's name.
        model: The model's name.
        label: Its name in tables.
        image_size: Side of the image, pixels.
        channels: Of the image.
        classes: How many the network tells apart.
        weights_origin: random; published where the network's shape came out of its training.
        params: Number of parameters.
        weights_mb: Bytes of parameters and buffers, MB (10^6).
        file_mb: Size of the file that `torch.save` makes of the state dict, MB.
        peak_memory_mb: Largest sum of live activations of one image's forward pass, MB; of a
            network with paths, on the one with most operations.
        gmacs: True multiply-accumulates of one image, 10^9.
        gflops: Two operations to a multiply-accumulate, 10^9.
        gmacs_thop: What thop counts, 10^9 (the published "G-Flops").
        paths: For a network that sends images different ways: each way, cheapest first.
        not_measured: Reasons, by the name of the field that is None.
        environment: The machine and the versions.
        git_commit: Of this project.
        git_dirty: Whether the working tree differed from that commit.
        started: UTC, ISO 8601.
        duration_s: Of the counting.
        command: What would count again.
    """

    __pydantic_config__ = STRICT

    schema: int = SCHEMA
    dataset: str
    model: str
    label: str
    image_size: int
    channels: int
    classes: int
    weights_origin: str
    params: int
    weights_mb: float
    file_mb: float
    peak_memory_mb: float | None = None
    gmacs: float | None = None
    gflops: float | None = None
    gmacs_thop: float | None = None
    paths: tuple[CostPath, ...] = ()
    not_measured: dict[str, str] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    git_commit: str | None = None
    git_dirty: bool | None = None
    started: str = ""
    duration_s: float = 0.0
    command: str = ""


def cost_path(results: Path, dataset: str, model: str, image_size: int) -> Path:
    """Return where the costs of a model at the shape of a data set are kept."""
    return results / "costs" / dataset / f"{model}-{image_size}.json"


def write_cost_record(results: Path, record: CostRecord) -> Path:
    """Write costs in place of earlier ones; return their path.

    Raises:
        CellError: They cannot be written.
    """
    path = cost_path(results, record.dataset, record.model, record.image_size)
    write_text(path, json.dumps(dataclasses.asdict(record), indent=1, allow_nan=False) + "\n")
    return path


def read_cost_records(results: Path) -> list[CostRecord]:
    """Return all costs, by data set, model and image size.

    Those of an older version are named in the log and left out.

    Raises:
        RequestError: A file holds no costs, or does not belong where it lies.
    """
    return read_all(
        results.glob("costs/*/*.json"),
        lambda path: read_stored(path, CostRecord, "record of costs", SCHEMA),
        lambda each: cost_path(results, each.dataset, each.model, each.image_size),
    )
