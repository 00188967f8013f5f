"""Turn settings, epochs and records into the parameters and numbers that trackers are given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from harness.records.cell import Record

Parameter = bool | int | float | str

# Numbers of a record that repeat the request; the parameters have them.
_ASKED = ("schema", "seed", "threads", "image_size", "epochs")
_ACCURACY = (
    *("accuracy_top1", "accuracy_top1_low", "accuracy_top1_high", "accuracy_top5"),
    *("expected_calibration_error", "n_test"),
)
_OF_EPOCH = ("loss", "accuracy", "learning_rate", "seconds")


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Parameter]:
    """Return nested values by dotted name; what is None is left out, lists become JSON."""
    flat: dict[str, Parameter] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}.")
        elif isinstance(value, (bool, int, float, str)):
            flat[name] = value
        elif value is not None:
            flat[name] = json.dumps(value)
    return flat


def epoch_numbers(entry: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of an epoch, `train/loss` and so on, or `train/<stage>/loss`."""
    group = f"train/{entry['stage']}" if "stage" in entry else "train"
    return {f"{group}/{name}": entry[name] for name in _OF_EPOCH}


def record_numbers(record: Record) -> dict[str, float]:
    """Return the numbers of a record, `test/accuracy_top1`, `cost/latency_ms_p50` and so on.

    What was not measured is left out.
    """
    return {
        f"{'test' if name in _ACCURACY else 'cost'}/{name}": value
        for name, value in record.flat.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and name not in _ASKED
    }
