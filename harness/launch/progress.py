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
    """How far a training is.

    Attributes:
        epoch: Epochs that are trained, in all stages.
        epochs: Epochs of the whole training.
        loss: Loss of the last epoch.
        seconds: Duration of the last epoch.
    """

    epoch: int
    epochs: int
    loss: float
    seconds: float

    @property
    def left_seconds(self) -> float:
        """A rough guess at the training time that is left."""
        return max(0, self.epochs - self.epoch) * self.seconds


def read_progress(path: Path) -> Progress | None:
    """Return what a worker wrote; None where it has trained no epoch yet."""
    try:
        return Progress(**json.loads(path.read_text(encoding="utf-8")))
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
        done = Progress(
            epoch=self._trained, epochs=self.epochs, loss=entry["loss"], seconds=entry["seconds"]
        )
        # A full disk ends a cell where it matters.
        with contextlib.suppress(CellError):
            write_text(self.path, json.dumps(asdict(done)))
        self.tracker.log_epoch(entry)

    def log_record(self, record: Record, path: Path) -> None:
        self.tracker.log_record(record, path)
