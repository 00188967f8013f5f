"""Accuracies as the publishers of weights state them, which nobody measured here."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.errors import RequestError
from harness.profiling.names import ModelName

PUBLISHED = ("published_weights", "published_top1", "published_top5", "published_gmacs")
"""The fields of what a publisher states: the weights' name, accuracies in percent on ImageNet-1K,
and 10^9 multiply-accumulates."""


def torchvision_accuracy(name: ModelName) -> dict[str, Any]:
    """Return what torchvision states of the weights whose image size a model is counted at.

    It comes with the package. A model of another source, or without weights, has no fields.
    """
    if name.source != "torchvision":
        return {}
    from torchvision.models import get_model_weights

    weights = get_model_weights(name.name).DEFAULT
    accuracy = weights.meta["_metrics"].get("ImageNet-1K", {})
    values = (str(weights), accuracy.get("acc@1"), accuracy.get("acc@5"), weights.meta.get("_ops"))
    return dict(zip(PUBLISHED, values, strict=True))


def read_timm_results(path: Path) -> list[dict[str, Any]]:
    """Return the accuracies in a results file of timm (results-imagenet.csv), by weights and size.

    Raises:
        RequestError: It cannot be read, or lacks the columns model, top1, top5 and img_size.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return [
            {
                "published_weights": row["model"],
                "published_top1": float(row["top1"]),
                "published_top5": float(row["top5"]),
                "image_size": int(row["img_size"]),
            }
            for row in rows
        ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RequestError(f"--timm-results {path}: {error}") from None
    except (KeyError, TypeError, ValueError):
        raise RequestError(
            f"--timm-results {path}: columns model, top1, top5 and img_size wanted, as in "
            "timm's results/results-imagenet.csv"
        ) from None


def timm_accuracy(
    name: str, image_size: object, results: Iterable[dict[str, Any]]
) -> dict[str, Any]:
    """Return what timm's results state of a model at a size of images: the best of its weights."""
    found = [
        each
        for each in results
        if name in (each["published_weights"], each["published_weights"].partition(".")[0])
        and str(each["image_size"]) == str(image_size)
    ]
    return max(found, key=lambda each: each["published_top1"], default={})
