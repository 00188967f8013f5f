"""Provenance of a record: code, time, command and environment."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from harness.records.parts import Provenance


def make_provenance(environment: Mapping[str, Any], started: datetime, command: str) -> Provenance:
    """Return the provenance of a measurement that ends now, in an `Environment` as a mapping."""
    return Provenance(
        git_commit=environment["git_commit"],
        git_dirty=environment["git_dirty"],
        started=started.isoformat(timespec="seconds"),
        duration_s=round((datetime.now(UTC) - started).total_seconds(), 1),
        command=command,
        environment=dict(environment),
    )
