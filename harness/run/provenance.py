"""Provenance of a record: code, time, command, environment and load."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from harness.measure.conditions import Conditions
from harness.records.parts import Load, Provenance


def describe_conditions(conditions: Conditions) -> dict[str, Any]:
    """Return the fields of a `Machine` that say what it did during a measurement."""
    load = Load(**dataclasses.asdict(conditions.load))
    return {"cores": conditions.cores, "load": load, "busy": conditions.busy}


def make_provenance(environment: Mapping[str, Any], started: datetime, command: str) -> Provenance:
    """Return the provenance of a measurement that ends now; see `describe_environment`."""
    return Provenance(
        git_commit=environment["git_commit"],
        git_dirty=environment["git_dirty"],
        started=started.isoformat(timespec="seconds"),
        duration_s=round((datetime.now(UTC) - started).total_seconds(), 1),
        command=command,
        environment=dict(environment),
    )
