"""A job without files, for tests."""

from pathlib import Path

from harness.jobs import Cell, Job
from harness.settings_spec import Settings


def make_job(dataset="d", model="m", folder=Path(), **changes):
    fields = {
        "cell": Cell(dataset=dataset, model=model, device="cpu"),
        "settings": Settings(),
        "data_dir": folder,
        "data_file": None,
        "weights_dir": folder / "weights",
        "results_dir": folder / "results",
        "offline": True,
        "command": "",
    }
    return Job(**(fields | changes))
