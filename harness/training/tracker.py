"""What the harness tells a tracker, and the tracker that keeps nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from harness.records.cell import Record


class Tracker(Protocol):
    """Takes note of one cell while it runs. It changes no result, and never breaks a cell."""

    def begin(self, parameters: Mapping[str, Any]) -> None:
        """Note what the cell is run with: fields of its record, settings among them."""

    def log_epoch(self, entry: Mapping[str, Any]) -> None:
        """Note an epoch of training, as the record's history has it.

        Epochs come in order from the first on, those too that an interrupted run trained: a
        tracker leaves out what it has.
        """

    def log_record(self, record: Record, path: Path) -> None:
        """Note what came of the cell, and the files that belong to it.

        Args:
            record: Of the cell, ok or failed.
            path: Its file.
        """


class Untracked:
    """Keeps nothing."""

    def begin(self, parameters: Mapping[str, Any]) -> None:
        """Keep nothing."""

    def log_epoch(self, entry: Mapping[str, Any]) -> None:
        """Keep nothing."""

    def log_record(self, record: Record, path: Path) -> None:
        """Keep nothing."""


UNTRACKED: Tracker = Untracked()
