import pytest


@pytest.fixture(autouse=True)
def _networks_that_fit_and_are_fast(monkeypatch):
    """Build and time no networks: that has tests of its own."""
    monkeypatch.setattr("harness.plan.cells.check_fit", lambda *_: None)
    monkeypatch.setattr("harness.plan.duration.measure_step_seconds", lambda *_: 1.0)
