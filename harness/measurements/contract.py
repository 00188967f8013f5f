"""The contract of a measurement: what the command and its child processes ask of each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from harness.jobs import Request

PlannedT = TypeVar("PlannedT")
JobT = TypeVar("JobT")


@dataclass(frozen=True, kw_only=True)
class Outcome(Generic[PlannedT]):
    """What a request has led to, for `Measurement.show`.

    Attributes:
        results: The results folder.
        ran: The planned parts of the request that were not refused, in their order.
        began: When the first of them began: UTC, ISO 8601.
    """

    results: Path
    ran: Sequence[PlannedT]
    began: str


class Measurement(ABC, Generic[PlannedT, JobT]):
    """One kind of measurement: how it is planned, described, run and shown.

    `PlannedT` is one part of a planned request, whose `str` names it in messages; `JobT` is what
    a child process is given, a dataclass that survives a trip through JSON. They may be the same.
    Modules of measurements import torch and the like inside of methods: `--help` reads them all.

    Attributes:
        name: What `--measure` calls it.
        help_text: Its name and what it does, for the help of `--measure`.
        job_type: `JobT`.
        own_options: Options that go with this measurement alone: for each field of `Request`, the
            message that refuses it beside another one, where `{measure}` stands for that one.
        after_interruption: What running an interrupted command again does.
    """

    name: ClassVar[str]
    help_text: ClassVar[str]
    job_type: ClassVar[type]
    own_options: ClassVar[Mapping[str, str]] = {}
    after_interruption: ClassVar[str] = "begins anew"

    @abstractmethod
    def plan(self, request: Request) -> Sequence[PlannedT]:
        """Check everything that can be checked before running, and return what is to be run.

        Raises:
            RequestError: Anything in the request is wrong.
        """

    @abstractmethod
    def describe(self, planned: Sequence[PlannedT]) -> None:
        """Print what running would do."""

    @abstractmethod
    def run(self, planned: PlannedT, request: Request) -> int:
        """Run one part of a request, as a rule by `run_in_child`, and leave its record.

        Returns:
            0: it ended well; 1: something in it broke; 2: it was refused and left nothing.

        Raises:
            CellError: It broke as a whole.
        """

    @abstractmethod
    def work(self, job: JobT) -> int:
        """Do a job, in the child process that `run` has started; return as `run`.

        Raises:
            RequestError: The job cannot be carried out as it stands.
            CellError: It broke as a whole.
        """

    @abstractmethod
    def show(self, outcome: Outcome[PlannedT]) -> None:
        """Print what came out."""
