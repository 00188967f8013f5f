"""The published tables: what was printed, and under which conditions it was measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.util.files import read_csv

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "published"


@dataclass(frozen=True, kw_only=True)
class PublishedCell:
    """One row of a published table, digits as printed; a range has a dash.

    Attributes:
        dataset: Our name of the data set.
        model: Our name of the model.
        label: The published name of the row.
        accuracy_top1: Percent.
        latency_ms: Milliseconds an image.
        file_mb: Size of the saved weights file, MB of 10^6 bytes.
        gmacs_thop: 10^9 multiply-accumulates as thop counts them.
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
    """What one row of a published table was measured on.

    Attributes:
        test_images: In the official test split.
        image_size: Side of the images at the network's input, pixels.
        start: What training started from: imagenet or random; empty: something else.
        device: cpu or cuda.
    """

    test_images: int
    image_size: int
    start: str
    device: str


def published_cells() -> dict[tuple[str, str], PublishedCell]:
    """Return the published cells by data set and model."""
    rows = read_csv(FOLDER / "tables.csv")
    return {(row["dataset"], row["model"]): PublishedCell(**row) for row in rows}


def published_conditions() -> dict[tuple[str, str], PublishedConditions]:
    """Return what the published cells were measured on, by data set and model."""
    return {
        (row["dataset"], row["model"]): PublishedConditions(
            test_images=int(row["test_images"]),
            image_size=int(row["image_size"]),
            start=row["start"],
            device=row["device"],
        )
        for row in read_csv(FOLDER / "conditions.csv")
    }
