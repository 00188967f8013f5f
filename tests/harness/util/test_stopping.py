"""A signal that stops a process: at once, or at the end of a block that defers it."""

import os
import signal
import subprocess
import sys

import pytest

from harness.util import stopping


@pytest.fixture
def listening(monkeypatch):
    before = signal.getsignal(signal.SIGUSR2)
    monkeypatch.setattr(stopping, "_asked", False)
    stopping.listen()
    yield
    signal.signal(signal.SIGUSR2, before)


def test_it_interrupts(listening):
    assert not stopping.asked()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGUSR2)
    assert stopping.asked()


def test_a_block_can_defer_it(listening):
    steps = []

    @stopping.deferred()
    def work():
        with stopping.deferred():
            os.kill(os.getpid(), signal.SIGUSR2)
            steps.append(stopping.asked())
        steps.append("outer")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == [True, "outer"]


def test_sigterm_stops_the_jobs_of_a_cluster_alone():
    code = "from harness.util import stopping; print(*(each.name for each in stopping.SIGNALS))"
    for job, names in ((None, "SIGUSR2"), ("7", "SIGUSR2 SIGTERM")):
        own = {key: value for key, value in os.environ.items() if key != "SLURM_JOB_ID"}
        environment = own | ({"SLURM_JOB_ID": job} if job else {})
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True
        )
        assert done.stdout.strip() == names
