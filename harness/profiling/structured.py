"""A report for programs: CSV and JSON, with every figure in full under the name of its field."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from typing import Any

from harness.profiling.analysis import Analysis, Options, Row
from harness.profiling.layers import Layer
from harness.profiling.metrics import Metrics
from harness.profiling.report import MEASURED, Report
from harness.records.cell import Record

_COUNTING = ("accounting", "batch_size", "channels", "classes", "precision")
_METRICS = tuple(field.name for field in dataclasses.fields(Metrics))
_LAYER = tuple(field.name for field in dataclasses.fields(Layer))
_MEASURED = tuple(f"measured_{name}" for name, *_ in MEASURED)
_RECORD = ("measured_on", "measured_as", "measured_device", "measured_image_size")


def render_json(report: Report) -> str:
    """Return everything, with what could not be had as null and the reason."""
    tree: dict[str, Any] = {
        **_counting(report.options),
        "hardware": dataclasses.asdict(report.options.roof) if report.options.roof else None,
        "models": [_model(report, row) for row in report.rows],
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
    counting = _counting(report.options)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if report.layers_of:
        writer.writerow(["model", *counting, *_LAYER])
        shared = [report.layers_of.name, *counting.values()]
        writer.writerows(
            [*shared, *(getattr(layer, name) for name in _LAYER)] for layer in report.layers
        )
        return out.getvalue()
    names = [*_METRICS, *((*_MEASURED, *_RECORD) if report.dataset else ())]
    writer.writerow(["model", "image_size", *counting, "hardware", *names, "reason"])
    hardware = report.options.roof.name if report.options.roof else None
    for row in report.rows:
        model = _model(report, row)
        shared = [model["model"], model["image_size"], *counting.values(), hardware]
        writer.writerow([*shared, *(model.get(name) for name in names), model["reason"]])
    return out.getvalue()


def _counting(options: Options) -> dict[str, Any]:
    return {name: getattr(options, name) for name in _COUNTING}


def _model(report: Report, row: Row) -> dict[str, Any]:
    if not isinstance(row, Analysis):
        return {"model": str(row.name), "image_size": None, "reason": row.reason}
    figures = {
        "model": str(row.name),
        "image_size": row.image_size,
        "reason": None,
        **dataclasses.asdict(row.metrics),
        "operators_without_formula": list(row.graph.unknown),
    }
    return figures | (_measured(report, report.measured.get(row.name)) if report.dataset else {})


def _measured(report: Report, record: Record | None) -> dict[str, Any]:
    if record is None:
        return dict.fromkeys((*_MEASURED, *_RECORD))
    figures = {f"measured_{name}": record.flat[name] for name, *_ in MEASURED}
    about = (report.dataset, record.cell.model, record.cell.device, record.settings.image_size)
    return {
        **figures,
        **dict(zip(_RECORD, about, strict=True)),
        "not_measured": {
            name: reason
            for name, reason in record.not_measured.items()
            if f"measured_{name}" in figures
        },
    }
