"""Random states: restored as they were, on a machine with any number of GPUs."""

import random

import numpy as np
import pytest
import torch

from harness.util.random_state import random_state, restore_random_state


def draw():
    return torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()  # noqa: NPY002


def test_what_follows_is_drawn_again():
    state = random_state()
    first = draw()
    assert draw() != first
    restore_random_state(state)
    assert draw() == first


# Earlier versions stored the states of all GPUs, and a CPU has none.
@pytest.mark.parametrize(("stored", "set_to"), [(1, [7]), (4, [7]), (0, [])])
def test_the_gpu_in_use_continues_whatever_the_other_machine_had(monkeypatch, stored, set_to):
    state = random_state() | {"cuda": [torch.tensor(7 + gpu) for gpu in range(stored)]}
    seen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda value: seen.append(int(value)))
    restore_random_state(state)
    assert seen == set_to
