"""Lock on a device, so that only one process measures on it at a time."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.util.locks import shared_lock

logger = logging.getLogger(__name__)

# Every user of the machine must be able to lock the same file.
_MODE = 0o666


def lock_path(device: str) -> Path:
    """Return the lock file of a device of this machine; every GPU has its own."""
    name = device
    if device.startswith("cuda"):
        import torch

        name = f"cuda-{torch.cuda.get_device_properties(device).uuid}"
    return Path(tempfile.gettempdir()) / f"modelcomparisons-{name}.lock"


@contextmanager
def device_lock(device: str, purpose: str) -> Iterator[None]:
    """Wait until nobody else measures on a device, and lock it while the block runs.

    The purpose is shown to other processes that wait for the device.
    """
    path = lock_path(device)
    note = path.with_suffix(".holder")

    def say_who_is_in() -> None:
        try:
            holder = note.read_text(encoding="utf-8")
        except OSError:
            holder = ""
        holder = holder or "another process"
        logger.warning("%s: waits for %s, which measures on %s", purpose, holder, device)

    with shared_lock(path, say_who_is_in, mode=_MODE):
        try:
            _write(note, f"{purpose} (process {os.getpid()})")
            yield
        finally:
            _write(note, "")


def _write(note: Path, text: str) -> None:
    try:
        note.write_text(text, encoding="utf-8")
    except OSError as error:
        # The file may belong to another user; the lock works without it.
        logger.debug("%s: %s", note, error)
