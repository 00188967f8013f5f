"""A lock between processes of several machines that share a file system."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import CellError

_NO_FLOCK = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}
_LEASE_SECONDS = 120.0


@contextmanager
def shared_lock(
    path: Path, on_wait: Callable[[], None] | None = None, *, mode: int = -1
) -> Iterator[None]:
    """Hold a lock while the block runs; the processes that want it wait for each other.

    The lock is the kernel's, which a process that is killed gives back. Where a file system has
    no such locks (NFS without its lock service), it is a file that the holder touches: it is taken
    from a holder that has not touched it for two minutes. The folder of `path` is made, and
    `on_wait` is called once where another process holds the lock. `mode` are the permissions of a
    new file; -1: those that the process gives its files.

    Raises:
        CellError: The file cannot be written.
    """
    from filelock import BaseFileLock, FileLock, SoftFileLease, Timeout

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock: BaseFileLock = FileLock(path, mode=mode, fallback_to_soft=False)
        try:
            try:
                lock.acquire(timeout=0)
            except OSError as error:
                if error.errno not in _NO_FLOCK:
                    raise
                lock = SoftFileLease(f"{path}.lease", lease_duration=_LEASE_SECONDS)
                lock.acquire(timeout=0)
        except Timeout:
            if on_wait is not None:
                on_wait()
            lock.acquire()
    except OSError as error:
        raise CellError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()
