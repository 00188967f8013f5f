"""What training needs to go on as if it had never stopped, in one file written after each epoch."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.errors import RequestError
from harness.files import atomic_path

State = dict[str, Any]


def save_checkpoint(path: Path, state: State) -> None:
    """Write tensors, numbers, strings, lists and dicts atomically.

    Raises:
        CellError: The disk is full or the folder cannot be written to.
    """
    with atomic_path(path) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:
            # torch's archive writer reports a full disk as a RuntimeError.
            raise OSError(str(error).splitlines()[0]) from error


def load_checkpoint(path: Path) -> State | None:
    """Return what `save_checkpoint` wrote, on the CPU; None where there is no file.

    Raises:
        RequestError: The file is not such a checkpoint.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise RequestError(f"{path}: not a readable checkpoint; delete it to start anew") from error
    return dict(state)


def random_state() -> State:
    """Return the states of all random generators: torch, its GPUs, numpy and Python."""
    numpy_state: State = dict(np.random.get_state(legacy=False))  # noqa: NPY002
    keys = numpy_state["state"].pop("key")
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": numpy_state,
        "numpy_keys": torch.from_numpy(keys.astype("int64")),
        "python": random.getstate(),
    }


def restore_random_state(state: State) -> None:
    """Set all random generators to what `random_state` returned."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    numpy_state = dict(state["numpy"])
    keys = state["numpy_keys"].numpy().astype("uint32")
    numpy_state["state"] = {**numpy_state["state"], "key": keys}
    np.random.set_state(numpy_state)  # noqa: NPY002
    random.setstate(state["python"])
