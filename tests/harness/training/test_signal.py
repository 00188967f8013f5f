"""A training that is told to stop writes a checkpoint of the step that it is in."""

import os
import signal

import pytest
import torch

from harness.training.checkpoints import load_checkpoint
from harness.util import stopping
from tests.harness.training.test_loop import Blobs, run


class Signalled(Blobs):
    """Sends the signal of a preemption while a batch is made."""

    def __init__(self, at_step=None):
        super().__init__()
        self.at_step = at_step

    def epoch(self, number, first_step):
        for step, batch in enumerate(super().epoch(number, first_step), start=first_step):
            if (number, step) == (2, self.at_step):
                os.kill(os.getpid(), signal.SIGUSR2)
            yield batch


@pytest.mark.parametrize("step", [0, 3, 7])
def test_it_goes_on_from_that_step(tmp_path, monkeypatch, step):
    before = signal.getsignal(signal.SIGUSR2)
    monkeypatch.setattr(stopping, "_asked", False)
    stopping.listen()
    try:
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "c", Signalled(step))
    finally:
        signal.signal(signal.SIGUSR2, before)
    state = load_checkpoint(tmp_path / "c")
    assert (len(state["logs"]), state["tally"]["step"]) == (1, step + 1)
    monkeypatch.setattr(stopping, "_asked", False)
    resumed, _ = run(tmp_path / "c", Signalled())
    whole, _ = run(tmp_path / "whole")
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
