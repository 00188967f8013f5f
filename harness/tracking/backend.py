"""The interface of all trackers, and the place where a run is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from accelerate.tracking import GeneralTracker


class Ending(Enum):
    """How a run ended."""

    OK = auto()
    FAILED = auto()
    INTERRUPTED = auto()


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a run is kept, and under which name.

    Attributes:
        project: `<data set>-<model>`, which all runs of a data set and model share.
        root: Folder of all local runs.
        tags: Data set, model and device, by which the run can be found.
        run_id: The tracker's identifier of a run that is continued; None for a new one.
        epochs: How many of the run's epochs the tracker has already.
    """

    project: str
    name: str
    root: Path
    tags: Mapping[str, str]
    offline: bool
    run_id: str | None = None
    epochs: int = 0


class Backend(GeneralTracker):
    """A tracker of accelerate's, with methods that accelerate's trackers do not have in common.

    A method does nothing where the tracker has nothing of the kind.

    Attributes:
        run_id: Identifies the run, to continue it after an interruption; None: it cannot be.
    """

    run_id: str | None = None

    def log_facts(self, facts: Mapping[str, str]) -> None:
        """Note facts about the run in words: where its weights are, how it ended."""

    def log_line(self, line: str, step: int) -> None:
        """Note a line of the log, after so many epochs."""

    def log_file(self, path: Path, step: int) -> None:
        """Keep a file, or show it where it is a picture."""

    def end(self, ending: Ending) -> None:
        """Close the run."""
        del ending
        self.finish()
