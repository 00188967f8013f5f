"""Accuracies as the publishers of weights state them, which nobody measured here."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import RequestError
from harness.profiling.names import ModelName
from harness.util.files import read_csv

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


def read_timm_results(path: Path) -> Mapping[tuple[str, str], dict[str, Any]]:
    """Return the accuracies in a results file of timm (results-imagenet.csv).

    They are by a model's name, with its tag and without one for the best of its weights, and the
    side of the images. RequestError: the file cannot be read, or lacks a column.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    try:
        for row in sorted(read_csv(path), key=lambda row: -float(row["top1"])):
            values = (row["model"], float(row["top1"]), float(row["top5"]), None)
            stated = dict(zip(PUBLISHED, values, strict=True))
            for name in (row["model"], row["model"].partition(".")[0]):
                found.setdefault((name, row["img_size"]), stated)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RequestError(f"--timm-results {path}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise RequestError(
            f"--timm-results {path}: columns model, top1, top5 and img_size wanted, as in "
            "timm's results/results-imagenet.csv"
        ) from None
    return found
