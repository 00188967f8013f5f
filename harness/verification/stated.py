"""What a record says of itself: whether its parts agree, and what its settings would be today."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
from collections.abc import Mapping
from typing import Any

from harness.errors import RequestError
from harness.jobs import Request
from harness.measure.accuracy import wilson_interval
from harness.plan.jobs import make_job
from harness.records.cell import Record
from harness.records.predictions import find_predictions
from harness.settings import stored_settings_hash
from harness.verification.checks import Check, Places, compare, unknown

_FLAGS = {"weights": "weights", "epochs": "training.epochs", "seed": "seed", "threads": "threads"}


def check_agreement(record: Record) -> list[Check]:
    """Return whether figures that follow from others in the same record do."""
    checks = [
        compare(
            "settings_hash",
            record.settings.settings_hash,
            stored_settings_hash(record.settings.settings),
        )
    ]
    if record.accuracy.confusion_matrix:
        checks += _check_accuracy(record)
    if record.operations.gmacs is not None:
        checks.append(compare("gflops", record.operations.gflops, 2 * record.operations.gmacs))
    if record.paths and record.operations.gmacs is not None:
        images = sum(path.images for path in record.paths)
        mean = sum(path.gmacs * path.images for path in record.paths) / images
        checks.append(compare("gmacs (mean of the paths)", record.operations.gmacs, mean))
    return checks


def check_predictions(record: Record, places: Places) -> list[Check]:
    """Return whether the kept predictions are the record's, and right as often as it says."""
    if record.accuracy.predictions_sha256 is None:
        return []
    found, reason = find_predictions(places.results_dir, record)
    if found is None:
        return [Check(field="predictions", holds=False, text=reason)]
    rows = record.accuracy.confusion_matrix or []
    right = sum(row[label] for label, row in enumerate(rows))
    return [compare("predictions (right)", right, found.right_bits.bit_count())]


def check_settings(record: Record, places: Places) -> list[Check]:
    """Return which settings the record's command would run with another value today."""
    try:
        request = read_command(record.provenance.command, places)
        job, _ = make_job(request, record.cell)
    except RequestError as error:
        return unknown("settings", str(error))
    # As a record holds them: lists for tuples, texts for the keys of mappings.
    stored = json.loads(json.dumps(dataclasses.asdict(job.settings)))
    recorded, today = _flat(record.settings.settings), _flat(stored)
    names = [name for name in {**recorded, **today} if recorded.get(name) != today.get(name)]
    differing = [compare(f"settings.{name}", recorded.get(name), today.get(name)) for name in names]
    return differing or [Check(field="settings", holds=True)]


def read_command(command: str, places: Places) -> Request:
    """Return what the command in a record asks for.

    Raises:
        RequestError: It is not one that this version of the project takes.
    """
    words = shlex.split(command)
    if words[:2] != ["python", "comparisons.py"]:
        raise RequestError(f"the command is no run of comparisons.py: '{command}'")
    parser = argparse.ArgumentParser(exit_on_error=False, add_help=False, allow_abbrev=False)
    for name in ("dataset", "model", "device", "recipe", "seeds", "data-file", *_FLAGS):
        parser.add_argument(f"--{name}")
    for name in ("published-dir", "measure"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--set", action="append", default=[])
    try:
        found, foreign = parser.parse_known_args(words[2:])
    except argparse.ArgumentError as error:
        raise RequestError(f"the command cannot be read: {error}") from None
    if foreign:
        raise RequestError(f"the command has {' '.join(foreign)}, which is unknown here")
    if found.seeds:
        found.seed = found.seeds
    overrides = {
        key: getattr(found, name)
        for name, key in _FLAGS.items()
        if getattr(found, name) is not None
    }
    return Request(
        datasets=[found.dataset],
        models=[found.model],
        device=found.device or "auto",
        overrides=overrides,
        assignments=found.set,
        data_dir=places.data_dir,
        data_file=None,
        weights_dir=places.weights_dir,
        published_dir=places.published_dir,
        recipe=found.recipe or "",
        results_dir=places.results_dir,
        offline=True,
        force=False,
        verbose=False,
    )


def _check_accuracy(record: Record) -> list[Check]:
    """Return whether accuracy is what the confusion matrix makes it."""
    rows = record.accuracy.confusion_matrix
    right, images = sum(row[label] for label, row in enumerate(rows)), sum(map(sum, rows))
    low, high = wilson_interval(right, images)
    now = {"": right / images, "_low": low, "_high": high}
    checks = [
        compare(f"accuracy_top1{end}", getattr(record.accuracy, f"accuracy_top1{end}"), 100 * share)
        for end, share in now.items()
    ]
    return [compare("n_test", record.accuracy.n_test, images), *checks]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the settings by dotted key; those that are off are left out."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        elif value is not None and value is not False and value != []:
            found[prefix + name] = value
    return found
