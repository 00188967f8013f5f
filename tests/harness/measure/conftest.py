"""What tests of measurements share."""

import pytest

from harness.measure import latency


class FakeClock:
    """A clock that only the networks move."""

    def __init__(self):
        self.now_ns = 0

    def __call__(self):
        return self.now_ns


@pytest.fixture
def clock(monkeypatch):
    fake = FakeClock()
    monkeypatch.setattr(latency, "perf_counter_ns", fake)
    return fake
