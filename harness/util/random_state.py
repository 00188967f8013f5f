"""Save and restore the state of every random generator."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

State = dict[str, Any]


def random_state() -> State:
    """Return the states of the random generators: torch, the GPU in use, numpy and Python."""
    numpy_state: State = dict(np.random.get_state(legacy=False))  # noqa: NPY002
    keys = numpy_state["state"].pop("key")
    return {
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_available() else [],
        "numpy": numpy_state,
        "numpy_keys": torch.from_numpy(keys.astype("int64")),
        "python": random.getstate(),
    }


def restore_random_state(state: State) -> None:
    """Set the random generators to what `random_state` returned, on whichever GPU is in use."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        # Earlier versions stored the states of all GPUs, the one in use first.
        torch.cuda.set_rng_state(state["cuda"][0])
    numpy_state = dict(state["numpy"])
    keys = state["numpy_keys"].numpy().astype("uint32")
    numpy_state["state"] = {**numpy_state["state"], "key": keys}
    np.random.set_state(numpy_state)  # noqa: NPY002
    random.setstate(state["python"])
