"""Save and restore the state of every random generator."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

State = dict[str, Any]


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
        # The states of another machine's GPUs may be more or fewer.
        torch.cuda.set_rng_state_all(state["cuda"][: torch.cuda.device_count()])
    numpy_state = dict(state["numpy"])
    keys = state["numpy_keys"].numpy().astype("uint32")
    numpy_state["state"] = {**numpy_state["state"], "key": keys}
    np.random.set_state(numpy_state)  # noqa: NPY002
    random.setstate(state["python"])
