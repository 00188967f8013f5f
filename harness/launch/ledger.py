"""What was submitted to a cluster, of which code: files below a results folder, beside the records.

They say which job has which part, and where its log is. Whether a part is done is not in them:
that the records say.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import RequestError
from harness.jobs import Part
from harness.registry import ROOT
from harness.util.checkout import read_git_state
from harness.util.files import write_text

if TYPE_CHECKING:
    from pydantic import TypeAdapter


_CODE = ("harness", "datasets", "monolithic_architectures", "trunk", "configs")


@dataclass(frozen=True, kw_only=True)
class Version:
    """The version of a checkout: its commit (None without git), and a digest of its files."""

    commit: str | None
    files: str

    def require_here(self) -> None:
        """Raise a RequestError where this process runs another version."""
        here = read_version()
        if here.commit != self.commit:
            submitted, now = (
                each[:12] if each else "(without git)" for each in (self.commit, here.commit)
            )
            raise RequestError(
                f"submitted from commit {submitted}, and {ROOT} is at {now} now: check the first "
                "out again, or submit again"
            )
        if here.files != self.files:
            raise RequestError(
                f"code or settings in {ROOT} were changed after this job was submitted: submit "
                "it again"
            )


def read_version() -> Version:
    """Return the version of the code of this project."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in _CODE for path in (ROOT / folder).rglob("*")):
        # The settings of clusters change no result.
        own = path.parent == ROOT / "configs" / "launch"
        if path.suffix in (".py", ".yaml", ".csv") and not own:
            digest.update(f"{path.relative_to(ROOT)}\0".encode())
            digest.update(path.read_bytes())
    return Version(commit=read_git_state(ROOT)[0], files=digest.hexdigest())


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a job of a cluster is to do.

    Attributes:
        version: The code that must do it.
        tries: How often the part is run, if it fails.
        max_requeues: How often the job may be queued again.
    """

    part: Part
    version: Version
    tries: int
    max_requeues: int


@dataclass(frozen=True, kw_only=True)
class Submission:
    """One job that was submitted.

    Attributes:
        job: The name of the job at the cluster, as 17 or 17_3.
        before: Start of the result that there was for the part then; empty: there was none.
    """

    key: str
    job: str
    before: str


class Ledger:
    """The files of the submissions of one results folder."""

    def __init__(self, results: Path) -> None:
        self.folder = results / ".launch"
        self.jobs = self.folder / "jobs"
        self.submissions = self.folder / "submissions.jsonl"

    def progress_path(self, key: str) -> Path:
        """Return the file to which the worker of a part writes each epoch."""
        return self.folder / "progress" / f"{key}.json"

    def refusal_path(self, key: str) -> Path:
        """Return the file of the reason why a worker refused a part."""
        return self.folder / "refusals" / f"{key}.txt"

    def log_path(self, job: str) -> Path:
        """Return the log of a job."""
        return self.jobs / f"{job}_0_log.out"

    def write_order(self, order: Order) -> Path:
        """Write what a job is to do, and return the file; what earlier jobs left is removed."""
        path = self.folder / "orders" / f"{order.part.key}.json"
        write_text(path, _adapter().dump_json(order).decode())
        for left in (self.progress_path(order.part.key), self.refusal_path(order.part.key)):
            left.unlink(missing_ok=True)
        return path

    def add(self, submissions: Sequence[Submission]) -> None:
        """Note submissions. The caller has the lock."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.submissions.open("a", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(asdict(each))}\n" for each in submissions)

    def read(self) -> dict[str, Submission]:
        """Return the last submission of each part, by key; a RequestError if a line is damaged."""
        if not self.submissions.exists():
            return {}
        found, lines = {}, self.submissions.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, start=1):
            try:
                submission = Submission(**json.loads(line))
            except (TypeError, ValueError) as error:
                raise RequestError(
                    f"{self.submissions}: line {number} is damaged; delete it"
                ) from error
            found[submission.key] = submission
        return found


def read_order(path: Path) -> Order:
    """Read what a job is to do; a RequestError says that the file is missing or damaged."""
    try:
        return _adapter().validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise RequestError(f"{path}: no job of this version; submit it again") from error


@cache
def _adapter() -> TypeAdapter[Order]:
    from pydantic import TypeAdapter

    return TypeAdapter(Order)
