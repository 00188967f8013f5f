"""Dry cells for large grids: each name of `--dataset` is a part that waits for a second."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import CellError
from harness.jobs import Part, Request, Result
from harness.launch.parts import part_of
from harness.measurements.contract import Measurement, Outcome

SECONDS = float(os.environ.get("DRY_SECONDS", "1"))


@dataclass(frozen=True, kw_only=True)
class DryJob:
    """One part, by number; `before` is what was there when it was planned."""

    number: str
    path: Path
    done: bool

    def __str__(self) -> str:
        return f"dry {self.number}"


class Dry(Measurement[DryJob, DryJob]):
    """Waits, and writes a file; a part whose number is in the file `broken` fails."""

    name = "dry"
    help_text = "dry: nothing"
    job_type = DryJob

    def plan(self, request: Request) -> Sequence[DryJob]:
        paths = {
            number: request.results_dir / "dry" / f"{number}.json"
            for number in ",".join(request.datasets).split(",")
        }
        return [
            DryJob(number=number, path=path, done=_read(path) is not None)
            for number, path in paths.items()
        ]

    def describe(self, planned: Sequence[DryJob]) -> None:
        print(*planned, sep="\n")

    def run(self, planned: DryJob, request: Request) -> int:
        return 0 if planned.done else self.work(planned)

    def work(self, job: DryJob) -> int:
        time.sleep(SECONDS)
        broken = job.path.parent / "broken"
        if broken.exists() and job.number in broken.read_text().split():
            raise CellError(f"{job}: broken")
        job.path.parent.mkdir(parents=True, exist_ok=True)
        job.path.write_text(json.dumps({"started": datetime.now(UTC).isoformat()}))
        return 0

    def show(self, outcome: Outcome[DryJob]) -> None:
        print(f"{len(outcome.ran)} dry parts")

    def is_settled(self, planned: DryJob) -> bool:
        return planned.done

    def split_off(self, planned: DryJob, request: Request) -> Part:
        return part_of(request, str(planned), planned.number, request.models)

    def find_result(self, planned: DryJob) -> Result | None:
        return _read(planned.path)


def _read(path: Path) -> Result | None:
    try:
        return Result(started=json.loads(path.read_text())["started"], reason=None)
    except OSError:
        return None
