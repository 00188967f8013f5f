"""A report for programs: CSV and JSON, with every figure in full under the name of its field."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from harness.profiling.columns import MEASURED
from harness.profiling.metrics import Metrics
from harness.profiling.report import Report, describe_models
from harness.report.table import write_csv

_COUNTING = ("accounting", "batch_size", "channels", "classes", "precision")
_METRICS = tuple(field.name for field in dataclasses.fields(Metrics))
_MEASURED = (
    *(f"measured_{column.get}" for column in MEASURED),
    *("measured_on", "measured_as", "measured_device", "measured_image_size"),
)


def render_json(report: Report) -> str:
    """Return everything, with what could not be had as null and the reason."""
    tree: dict[str, Any] = {
        **_counting(report),
        "hardware": dataclasses.asdict(report.options.roof) if report.options.roof else None,
        "models": describe_models(report),
        "rankings": [dataclasses.asdict(each) for each in report.extremes],
    }
    if report.recommendation:
        tree["recommendation"] = dataclasses.asdict(report.recommendation)
    if report.layers_of:
        tree["layers_of"] = str(report.layers_of.name)
        tree["layers"] = [dataclasses.asdict(layer) for layer in report.layers]
    return json.dumps(tree, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def render_csv(report: Report) -> str:
    """Return a line for each model, or for each layer where layers were asked for."""
    shared = _counting(report)
    if report.layers_of:
        shared = {"model": report.layers_of.name, **shared}
        return write_csv(shared | dataclasses.asdict(layer) for layer in report.layers)
    shared["hardware"] = report.options.roof.name if report.options.roof else None
    names = [*_METRICS, *(_MEASURED if report.dataset else ()), "reason"]
    return write_csv(
        {"model": each["model"], "image_size": each["image_size"], **shared}
        | {name: each.get(name) for name in names}
        for each in describe_models(report)
    )


def _counting(report: Report) -> dict[str, Any]:
    return {name: getattr(report.options, name) for name in _COUNTING}
