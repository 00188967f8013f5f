"""The interface of experiment trackers, and a tracker that does nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from harness.records.cell import Record


class Tracker(Protocol):
    """Follows one cell while it runs; it changes no result and never breaks a cell."""

    def begin(self, parameters: Mapping[str, Any]) -> None:
        """Log the parameters of the cell: fields of its record, including settings."""

    def log_epoch(self, entry: Mapping[str, Any]) -> None:
        """Log an epoch of training, in the form of the record's history.

        Epochs come in order from the first on, those too that an interrupted run trained: a
        tracker leaves out what it has.
        """

    def log_record(self, record: Record, path: Path) -> None:
        """Log the results of the cell, and the files that belong to it.

        Args:
            record: The record of the cell, ok or failed.
            path: The file of the record.
        """


class Untracked:
    """A tracker that does nothing."""

    def begin(self, parameters: Mapping[str, Any]) -> None:
        """Do nothing."""

    def log_epoch(self, entry: Mapping[str, Any]) -> None:
        """Do nothing."""

    def log_record(self, record: Record, path: Path) -> None:
        """Do nothing."""


UNTRACKED: Tracker = Untracked()
