"""Contract of a measurement: the methods that the command and its child processes call."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from harness.errors import CellError, RequestError
from harness.jobs import Part, Request, Result

PlannedT = TypeVar("PlannedT")
JobT = TypeVar("JobT")


@dataclass(frozen=True, kw_only=True)
class Outcome(Generic[PlannedT]):
    """The results folder, the parts that were not refused, and when the first began (ISO 8601)."""

    results: Path
    ran: Sequence[PlannedT]
    began: str


class Measurement(ABC, Generic[PlannedT, JobT]):
    """A kind of measurement: how it is planned, described, run and shown.

    `PlannedT` is one part of a planned request; its `str` names it in messages. `JobT` is the input
    of a child process, a dataclass that can be written as JSON and read again. They may be the
    same. Modules of measurements import torch and the like inside methods, because `--help` imports
    all of them.

    Attributes:
        name: Value of `--measure`.
        help_text: Name and summary of the measurement for the help of `--measure`.
        job_type: The class `JobT`.
        own_options: Options of this measurement alone: for each field of `Request`, the message
            that refuses it for another measurement, whose name replaces `{measure}`.
        after_interruption: What happens when an interrupted command is run again.
    """

    name: ClassVar[str]
    help_text: ClassVar[str]
    job_type: ClassVar[type]
    own_options: ClassVar[Mapping[str, str]] = {}
    after_interruption: ClassVar[str] = "begins anew"

    @abstractmethod
    def plan(self, request: Request) -> Sequence[PlannedT]:
        """Check all that can be checked before running, and return the parts to run."""

    @abstractmethod
    def describe(self, planned: Sequence[PlannedT]) -> None:
        """Print what a run would do."""

    @abstractmethod
    def run(self, planned: PlannedT, request: Request) -> int:
        """Run one part of a request, usually with `run_in_child`, and write its record.

        A CellError says that it failed as a whole.

        Returns:
            0: it ended well; 1: something in it failed; 2: it was refused and wrote nothing.
        """

    def run_up_to(self, tries: int, planned: PlannedT, request: Request) -> int:
        """Run one part, again where it fails, `tries` times at the most; return as `run`."""
        code = 1
        for _ in range(max(1, tries)):
            try:
                code = self.run(planned, request)
            except CellError as error:
                print(f"{planned}: {error}", file=sys.stderr)
                code = error.exit_code
            if code != 1:
                break
        return code

    @abstractmethod
    def work(self, job: JobT) -> int:
        """Do a job in the child process that `run` has started; return the same as `run`.

        A RequestError says that it cannot be carried out as it stands, a CellError that it failed.
        """

    @abstractmethod
    def show(self, outcome: Outcome[PlannedT]) -> None:
        """Print the results."""

    def is_settled(self, planned: PlannedT) -> bool:
        """Return whether `run` has nothing to compute for a part, as it is done."""
        del planned
        return False

    def split_off(self, planned: PlannedT, request: Request) -> Part:
        """Return one part of a request as a job that another machine can plan and run.

        A RequestError says that this measurement is for the machine that it was asked for on.
        """
        del planned, request
        raise RequestError(f"--measure {self.name} runs here, in one process after the other")

    def estimate_seconds(self, planned: PlannedT) -> float | None:
        """Return the rough duration of a part in seconds; None where nothing is known."""
        del planned
        return None

    def find_result(self, planned: PlannedT) -> Result | None:
        """Return the result that the records hold for a part, if there is one."""
        del planned
        return None
