"""Shared by all tests: one thread, so that tests beside each other do not fight over cores."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")


@pytest.fixture
def undrawn_figures(monkeypatch):
    """Let the files of figures have their digests alone, which say whether they are current."""
    from harness.report import figures

    def save(plot, files, *, digest, palette):
        for path in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(digest)

    monkeypatch.setattr(figures, "save_figure", save)
