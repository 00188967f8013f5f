"""What every tracker can do here, and where it keeps a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from accelerate.tracking import GeneralTracker


class Ending(Enum):
    """How a run came to its end."""

    OK = auto()
    FAILED = auto()
    INTERRUPTED = auto()


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a run is kept, and under which name.

    Attributes:
        project: Runs of one data set and model belong together: `<data set>-<model>`.
        name: Of the run within its project.
        root: Folder of all local runs.
        tags: What the run can be found by, by kind.
        offline: Whether the network must not be used.
        run_id: What the tracker called the run when it was begun; None for a new one.
        epochs: How many epochs the tracker has of it.
    """

    project: str
    name: str
    root: Path
    tags: Mapping[str, str]
    offline: bool
    run_id: str | None = None
    epochs: int = 0


class Backend(GeneralTracker):
    """A tracker of accelerate's with what accelerate has no common word for.

    One that cannot do something does nothing.

    Attributes:
        run_id: What the run is called, to go on with it after an interruption; None: it cannot be.
    """

    run_id: str | None = None

    def log_facts(self, facts: Mapping[str, str]) -> None:
        """Note words on the run: where its weights are, how it went."""

    def log_line(self, line: str, step: int) -> None:
        """Note a line of the log, after so many epochs."""

    def log_file(self, path: Path, step: int) -> None:
        """Keep a file, or show it where it is a picture."""

    def end(self, ending: Ending) -> None:
        """Close the run."""
        del ending
        self.finish()
