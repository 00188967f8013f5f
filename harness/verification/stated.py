"""Checks within a record: whether its parts agree, and whether its settings are still the same."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from harness.errors import RequestError
from harness.measure.accuracy import wilson_interval
from harness.plan.jobs import make_job, name_seeds
from harness.records.cell import Record
from harness.records.predictions import find_predictions
from harness.settings import stored_settings_hash
from harness.util.hashing import without_absent
from harness.verification.checks import Check, Places, compare, unknown


def check_agreement(record: Record) -> list[Check]:
    """Return checks of figures that follow from other figures of the same record."""
    used, operations = record.settings, record.operations
    checks = [compare("settings_hash", used.settings_hash, stored_settings_hash(used.settings))]
    if record.accuracy.confusion_matrix:
        checks += _check_accuracy(record)
    if operations.gmacs is not None:
        checks.append(compare("gflops", operations.gflops, 2 * operations.gmacs))
        if record.paths:
            images = sum(path.images for path in record.paths)
            mean = sum(path.gmacs * path.images for path in record.paths) / images
            checks.append(compare("gmacs (mean of the paths)", operations.gmacs, mean))
    return checks


def check_predictions(record: Record, places: Places) -> list[Check]:
    """Return checks that the stored predictions belong to the record and have its accuracy."""
    if record.accuracy.predictions_sha256 is None:
        return []
    found, reason = find_predictions(places.results_dir, record)
    if found is None:
        return [Check(field="predictions", holds=False, text=reason)]
    rows = record.accuracy.confusion_matrix
    right = sum(row[label] for label, row in enumerate(rows))
    return [compare("predictions (right)", right, found.right_bits.bit_count())]


def check_settings(record: Record, places: Places) -> list[Check]:
    """Return a check for each setting that the record's command would set otherwise today."""
    try:
        request = places.read_request(record.provenance.command)
        job, _ = make_job(request, record.cell, name_seeds(request.seeds)[0])
    except RequestError as error:
        return unknown("settings", str(error))
    # As records store settings: tuples are lists, and keys of mappings are text.
    stored = json.loads(json.dumps(dataclasses.asdict(job.settings)))
    recorded, today = _flat(record.settings.settings), _flat(stored)
    names = [name for name in {**recorded, **today} if recorded.get(name) != today.get(name)]
    differing = [compare(f"settings.{name}", recorded.get(name), today.get(name)) for name in names]
    return differing or [Check(field="settings", holds=True)]


def _check_accuracy(record: Record) -> list[Check]:
    """Return checks of the accuracy and its interval by the confusion matrix."""
    rows = record.accuracy.confusion_matrix
    right, images = sum(row[label] for label, row in enumerate(rows)), sum(map(sum, rows))
    low, high = wilson_interval(right, images)
    now = {"": right / images, "_low": low, "_high": high}
    checks = [
        compare(f"accuracy_top1{end}", getattr(record.accuracy, f"accuracy_top1{end}"), 100 * share)
        for end, share in now.items()
    ]
    return [compare("n_test", record.accuracy.n_test, images), *checks]


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by dotted key, without those that are off."""
    return dict(_items(without_absent(settings), ""))


def _items(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _items(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
