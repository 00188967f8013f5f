"""The published tables: what was printed, and under which conditions it was measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from harness.records.cost import CostRecord
from harness.registry import ROOT
from harness.util.files import read_csv

REFERENCE = "resnet"
"""The model whose latency the other models' latencies are divided by."""

_FOLDER = ROOT / "configs" / "published"


@dataclass(frozen=True, kw_only=True)
class PublishedCell:
    """One row of a published table, digits as printed; a range has a dash.

    Data set and model have our names, `label` is the published name of the row. The accuracy is in
    percent, the file's size in MB of 10^6 bytes, and thop's count in 10^9 multiply-accumulates.
    """

    dataset: str
    model: str
    label: str
    accuracy_top1: str
    latency_ms: str
    file_mb: str
    gmacs_thop: str


@dataclass(frozen=True, kw_only=True)
class PublishedConditions:
    """The conditions under which one row of a published table was measured.

    Attributes:
        test_images: Number of images in the official test split.
        image_size: Side of the images at the network's input, in pixels.
        start: The weights that training started from: imagenet or random; empty: other ones.
        evaluated_images: Number of test images that the accuracy was taken over; where it is less
            than `test_images`, which ones were left out is not known.
        own_network: Whether the published network is another than ours of that name, so that only
            what was measured with `--weights published` can be compared.
    """

    test_images: int
    image_size: int
    start: str
    device: str
    evaluated_images: int
    own_network: bool


@cache
def published_cells() -> dict[tuple[str, str], PublishedCell]:
    """Return the published cells by data set and model."""
    rows = read_csv(_FOLDER / "tables.csv")
    return {(row["dataset"], row["model"]): PublishedCell(**row) for row in rows}


@cache
def published_conditions() -> dict[tuple[str, str], PublishedConditions]:
    """Return what the published cells were measured on, by data set and model."""
    return {
        (row["dataset"], row["model"]): PublishedConditions(
            test_images=int(row["test_images"]),
            image_size=int(row["image_size"]),
            start=row["start"],
            device=row["device"],
            evaluated_images=int(row["evaluated_images"]),
            own_network=row["own_network"] == "yes",
        )
        for row in read_csv(_FOLDER / "conditions.csv")
    }


@cache
def published_matrices() -> dict[tuple[str, str], float]:
    """Return the accuracies, in percent, of the authors' confusion matrices, by cell."""
    rows = read_csv(_FOLDER / "confusion_matrices.csv")
    return {(row["dataset"], row["model"]): float(row["accuracy_top1"]) for row in rows}


def published_ratio(cell: PublishedCell, reference: PublishedCell | None) -> float | None:
    """Return the published latency of a cell divided by that of ResNet-50 in the same table."""
    return float(cell.latency_ms) / float(reference.latency_ms) if reference else None


def published_costs(costs: Iterable[CostRecord], variant: str = "") -> dict[str, CostRecord]:
    """Return what was counted for one data set at the published image size, by model.

    Of a model that was not published, it is what was counted at the largest size. `variant` is that
    of `CostRecord`: ours, or the network that was published.
    """
    conditions = published_conditions()
    found: dict[str, CostRecord] = {}
    for cost in sorted(costs, key=lambda each: (each.model, each.image_size)):
        wanted = conditions.get((cost.dataset, cost.model))
        sized = wanted is None or wanted.image_size == cost.image_size
        if sized and cost.variant == variant:
            found[cost.model] = cost
    return found
