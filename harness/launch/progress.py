"""How far the training of a part is: a small file that its worker writes after each epoch."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.errors import CellError
from harness.launch.local import PROGRESS
from harness.records.cell import Record
from harness.training.tracker import Tracker
from harness.util.files import write_text


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a training is: epochs in all stages, of how many; loss and seconds of the last."""

    epoch: int
    epochs: int
    loss: float
    seconds: float


def read_progress(path: Path | None) -> Progress | None:
    """Return what a worker wrote; None where it has trained no epoch yet, or there is no file."""
    try:
        return Progress(**json.loads(path.read_text(encoding="utf-8"))) if path else None
    except (OSError, TypeError, ValueError):
        return None


def reported(tracker: Tracker, epochs: int) -> Tracker:
    """Return a tracker that also writes the file that a launcher has named, if one has."""
    path = os.environ.get(PROGRESS)
    return _Reported(tracker, Path(path), epochs) if path else tracker


class _Reported(Tracker):
    """Passes everything on to a tracker, and writes each epoch to a file."""

    def __init__(self, tracker: Tracker, path: Path, epochs: int) -> None:
        self.tracker, self.path, self.epochs = tracker, path, epochs
        self._trained = 0

    def begin(self, parameters: Mapping[str, Any]) -> None:
        self.tracker.begin(parameters)

    def log_epoch(self, entry: Mapping[str, Any]) -> None:
        self._trained += 1
        loss, seconds = entry["loss"], entry["seconds"]
        done = Progress(epoch=self._trained, epochs=self.epochs, loss=loss, seconds=seconds)
        # A full disk ends a cell where it matters.
        with contextlib.suppress(CellError):
            write_text(self.path, json.dumps(asdict(done)))
        self.tracker.log_epoch(entry)

    def log_record(self, record: Record, path: Path) -> None:
        self.tracker.log_record(record, path)
