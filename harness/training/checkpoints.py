"""Checkpoints: files from which an interrupted training continues without a difference."""

from __future__ import annotations

import contextlib
import logging
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge
from pydantic import Strict, TypeAdapter, ValidationError

from harness.errors import RequestError
from harness.records.parts import Epoch
from harness.util.files import atomic_path, delete_abandoned, regular_file

logger = logging.getLogger(__name__)

State = dict[str, Any]


def save_checkpoint(path: Path, state: State) -> None:
    """Write a state of tensors, numbers, strings, lists and dicts; keep the previous checkpoint.

    Whenever the process is killed, the last file that was written to its end is there, under one
    of two names. The one before it is written over next: pages that are in memory already are
    several times faster to fill than those of a new file, and ext4 flushes a file to the disk that
    takes the name of another.

    Raises:
        CellError: The disk is full or the folder cannot be written to.
    """
    with atomic_path(path) as temporary:
        with contextlib.suppress(FileNotFoundError):
            previous_path(path).replace(temporary)
        temporary.touch()
        with temporary.open("r+b") as file:
            try:
                torch.save(state, file)
            except RuntimeError as error:
                # torch's archive writer reports a full disk as a RuntimeError.
                raise OSError(str(error).splitlines()[0]) from error
            file.truncate()
        with contextlib.suppress(FileNotFoundError):
            path.replace(previous_path(path))


def previous_path(path: Path) -> Path:
    """Return the file of the previous checkpoint."""
    return path.with_name(f"{path.name}.previous")


def delete_checkpoint(path: Path) -> None:
    """Delete the last and the previous checkpoint, and what killed processes left of others."""
    delete_abandoned(path)
    path.unlink(missing_ok=True)
    previous_path(path).unlink(missing_ok=True)


def load_checkpoint(path: Path) -> State | None:
    """Return the last state that `save_checkpoint` wrote, on the CPU, or None if there is none.

    After a power failure the last file may not be whole; the one before it is taken then.

    Raises:
        RequestError: There is no whole checkpoint.
    """
    there = [file for file in (path, previous_path(path)) if file.exists()]
    for file in there:
        if (state := _read(file)) is not None:
            return state
        logger.info("%s: not whole", file)
    if there:
        raise damaged(path)
    return None


@dataclass(frozen=True, kw_only=True)
class _Tally:
    step: Annotated[int, Strict(), Ge(0)]
    images: Annotated[int, Strict(), Ge(0)]
    seconds: Annotated[float, Strict(), Ge(0)]


@dataclass(frozen=True, kw_only=True)
class _Training:
    """What the state of an unfinished training holds, apart from the tensors."""

    network: dict[str, Any]
    random: Any
    logs: list[Epoch]
    tally: _Tally
    start: Literal["imagenet", "random"] = "random"


def load_training(path: Path) -> State | None:
    """Return the last state of an unfinished training, or None if there is none.

    Raises:
        RequestError: There is no whole checkpoint, or it does not hold such a state.
    """
    state = load_checkpoint(path)
    try:
        found = TypeAdapter(_Training | None).validate_python(state)
    except ValidationError:
        raise damaged(path) from None
    if found and [log.epoch for log in found.logs] != list(range(1, len(found.logs) + 1)):
        raise damaged(path)
    return state


def damaged(path: Path) -> RequestError:
    """Return the error for a checkpoint that training cannot go on from."""
    return RequestError(
        f"{path}: a damaged checkpoint, or one of another network; delete {path.name}* to start "
        "anew"
    )


def _read(file: Path) -> State | None:
    """Return the state in a file, or None if the file is incomplete or corrupt."""
    try:
        with zipfile.ZipFile(regular_file(file)) as archive:
            # torch does not look at the checksums that it writes.
            if archive.testzip() is not None:
                return None
        # Not mapped into memory: the file will be written over.
        return dict(torch.load(file, map_location="cpu", weights_only=True))
    except Exception:  # whatever bytes may lead a reader to
        return None
