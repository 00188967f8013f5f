"""Write files atomically, compute their digests, and read CSV rows."""

from __future__ import annotations

import contextlib
import csv
import glob
import hashlib
import os
import platform
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path

from harness.errors import CellError, RequestError

# Machines may share a folder, and number their processes each for itself.
_HOST = f"{zlib.crc32(platform.node().encode()):08x}"
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside `path` that takes its place when the block ends well.

    What a process of this machine that was killed in such a block has left is deleted.

    Raises:
        CellError: The disk is full or the folder cannot be written to; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{_HOST}-{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        delete_abandoned(path)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise CellError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def delete_abandoned(path: Path) -> None:
    """Delete what killed processes of this machine left when they were writing a file."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.{_HOST}-*.tmp"):
        if not _is_running(left.stem.rpartition("-")[2]):
            left.unlink(missing_ok=True)


def _is_running(pid: str) -> bool:
    import psutil

    try:
        # One that was killed has a number until its parent has asked how it ended.
        return bool(psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE)
    except (ValueError, psutil.NoSuchProcess):
        return False


def write_text(path: Path, text: str) -> None:
    """Write a text file as `atomic_path` does."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def absolute(path: Path) -> Path:
    """Return a path from the root, without `.` and `..`, and with links as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100 (`Path.absolute` keeps `..`)


def regular_file(path: Path) -> Path:
    """Return a path that may be opened: that of a regular file, or of none at all.

    To open a pipe or a device could wait for ever, and a folder cannot be read.

    Raises:
        RequestError: Something else is there, or the path cannot be looked up.
    """
    try:
        kind = _KINDS.get(stat.S_IFMT(path.stat().st_mode))
    except (FileNotFoundError, NotADirectoryError):
        return path
    except OSError as error:
        raise RequestError(f"{path}: cannot be read ({error.strerror})") from None
    if kind is not None:
        raise RequestError(f"{path}: {kind} is there, a file wanted")
    return path


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a regular file's bytes, in hexadecimal."""
    with regular_file(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_csv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file with a header line, all values as text."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
