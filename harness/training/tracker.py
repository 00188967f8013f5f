"""The interface of experiment trackers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.records.cell import Record


class Tracker:
    """Follows one cell while it runs; it changes no result and never breaks a cell.

    This one does nothing; subclasses replace what they follow.
    """

    def begin(self, parameters: Mapping[str, Any]) -> None:
        """Log the parameters of the cell: fields of its record, including settings."""

    def log_epoch(self, entry: Mapping[str, Any]) -> None:
        """Log an epoch of training, in the form of the record's history.

        Epochs come in order from the first on, those too that an interrupted run trained: a
        tracker leaves out what it has.
        """

    def log_record(self, record: Record, path: Path) -> None:
        """Log the results of the cell, ok or failed, and the file of its record."""


UNTRACKED = Tracker()
