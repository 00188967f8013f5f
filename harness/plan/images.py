"""The names of users' own data sets, and what is said and checked once their images are read."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import RequestError
from harness.jobs import Job
from harness.records.cell import CELLS
from harness.records.latency import LATENCIES
from harness.registry import dataset_files
from harness.util.files import absolute

if TYPE_CHECKING:
    from harness.data.loading import DataSource

# Files that are named after a data set have longer names, and file systems have 255 bytes.
_MOST_BYTES = 200
_MARKS = " ._-+=@~()[]"
# A results folder has other files of these names.
_RESERVED = ("all", "verdicts")
_RESERVED_ENDS = ("-costs", "-latency", "-mcnemar")


def own_name(path: Path) -> str:
    """Return the name of the data set that a user's file or folder makes, or refuse it."""
    where, name = f"--data-file {path}", absolute(path).stem
    if name in dataset_files():
        raise RequestError(
            f"{where}: give --dataset {name} as well to let it stand in for {name}, or rename it "
            "to use it as a data set of your own"
        )
    if not name:
        raise RequestError(
            f"{where}: no name of a data set can be made of it; name a folder below it"
        )
    foreign = [
        each
        for each in name
        if not (each.isalnum() or unicodedata.category(each)[0] == "M" or each in _MARKS)
    ]
    if foreign:
        problem = f"'{foreign[0]}' in its name; letters, digits, spaces and {_MARKS.strip()} wanted"
    elif name[0] in "-." or name != name.strip():
        problem = f"'{name}' begins or ends in '{name[0] if name[0] in '-.' else ' '}'"
    elif len(name.encode()) > _MOST_BYTES:
        problem = f"its name has {len(name.encode())} bytes; {_MOST_BYTES} at most wanted"
    elif name.lower() in _RESERVED or name.lower().endswith(_RESERVED_ENDS):
        problem = f"a data set '{name}' would have files of another one's name"
    else:
        return name
    raise RequestError(f"{where}: {problem}; rename it")


def accept_images(job: Job, source: DataSource, *, force: bool) -> None:
    """Say on standard error, in one line, what was done to images and what was left out.

    Unless `force`, a RequestError says that the results folder has records of other images under
    the name of the data set.
    """
    if job.cell.dataset not in dataset_files() and not force:
        for name, digest in _recorded(job, source):
            if (name, digest) != (source.name, source.sha256):
                raise RequestError(
                    f"data set '{job.cell.dataset}': {job.results_dir} has records of other images "
                    f"under that name ({name}, SHA-256 {digest[:8]}…; these are {source.name}, "
                    f"{source.sha256[:8]}…): rename the file, choose another --results-dir, or "
                    "replace them with --force"
                )
    if source.notes:
        print(f"{source.name}: {'; '.join(source.notes)}", file=sys.stderr)


def _recorded(job: Job, source: DataSource) -> Iterator[tuple[str, str]]:
    """Yield name and digest of the images of each record of a data set."""
    folder = job.results_dir / "records" / job.cell.dataset
    for data in (CELLS.read(path).data for path in sorted(folder.glob("*.json"))):
        # The digest of a large folder is that of names and sizes.
        alike = data.data_digest_of == source.digest_of
        if data.data_name:
            yield data.data_name, data.data_sha256 if alike else source.sha256
    for latency in LATENCIES.read_all(job.results_dir):
        if latency.dataset == job.cell.dataset:
            yield latency.data_name, source.sha256
