"""How far the tracking of a training has come, in a file beside its checkpoint."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from harness.errors import CellError
from harness.util.files import write_text


@dataclass(kw_only=True)
class Progress:
    """One run.

    Attributes:
        name: Of the run.
        run_ids: What trackers call it; one that cannot go on with a run is left out.
        epochs: How many epochs of it each tracker has.
    """

    name: str = ""
    run_ids: dict[str, str] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write the file. Without it a continued training is tracked as a new run, no worse."""
        with contextlib.suppress(CellError):
            write_text(path, json.dumps(asdict(self)) + "\n")


def read_progress(path: Path) -> Progress:
    """Return what was written; that of a new run where there is nothing of use."""
    try:
        return Progress(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError):
        return Progress()
