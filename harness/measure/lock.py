"""One measurement at a time on a device: others wait, instead of slowing each other down."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)

# Anybody on the machine may have to wait for anybody else.
_MODE = 0o666


def lock_path(device: str) -> Path:
    """Return the file that stands for a device of this machine."""
    return Path(tempfile.gettempdir()) / f"modelcomparisons-{device.replace(':', '-')}.lock"


@contextmanager
def device_lock(device: str, purpose: str) -> Iterator[None]:
    """Have a device to oneself while the block runs, after those who came before.

    Args:
        device: "cpu" or "cuda", with or without an index.
        purpose: What others are told that they wait for.
    """
    path = lock_path(device)
    lock = FileLock(path, mode=_MODE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.warning("%s: waits for %s, which measures on %s", purpose, _holder(path), device)
        lock.acquire()
    note = path.with_suffix(".holder")
    try:
        _write(note, f"{purpose} (process {os.getpid()})")
        yield
    finally:
        _write(note, "")
        lock.release()


def _holder(path: Path) -> str:
    try:
        return path.with_suffix(".holder").read_text(encoding="utf-8") or "another process"
    except OSError:
        return "another process"


def _write(note: Path, text: str) -> None:
    try:
        note.write_text(text, encoding="utf-8")
    except OSError as error:
        # Somebody else's file, perhaps: the lock holds without it.
        logger.debug("%s: %s", note, error)
