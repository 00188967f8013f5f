"""Trackers change no result and break nothing, neither the cell nor each other."""

import random

import numpy as np
import pytest
import torch
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from harness.settings import recipe_hash, settings_hash

from .conftest import STAGED


@pytest.fixture
def rude(monkeypatch):
    """A tracker that draws random numbers, and breaks where it is told to."""

    class Rude(GeneralTracker):
        name = "rude"
        requires_logging_directory = False
        tracker = None
        breaks_at = None
        steps = []  # noqa: RUF012

        def __init__(self, project):
            super().__init__()
            self.draw("init")

        def draw(self, where):
            random.seed(1)
            np.random.seed(1)  # noqa: NPY002
            torch.manual_seed(1)
            if where == self.breaks_at:
                raise ConnectionError(f"no answer\nin {where}")

        def start(self):
            self.draw("start")

        def store_init_configuration(self, values):
            self.draw("config")

        def log(self, values, step=None, **_):
            self.draw(step)
            self.steps.append(step)

        def finish(self):
            self.draw("finish")

    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "rude", Rude)
    return Rude


def test_the_weights_are_those_without_a_tracker(make_job, run, rude):
    expected = run(make_job(folder="without")).sha256
    assert run(make_job("rude", "tensorboard")).sha256 == expected


@pytest.mark.parametrize("name", ["ml-dash", "wandb"])
def test_the_weights_are_those_without_a_tracker_from_elsewhere(make_job, run, name):
    pytest.importorskip(name.replace("-", "_"))
    expected = run(make_job(folder="without")).sha256
    assert run(make_job(name)).sha256 == expected


def test_a_continued_run_ends_with_the_same_weights(make_job, run, interrupt, rude):
    expected = run(make_job(folder="without")).sha256
    interrupt(3)
    with pytest.raises(KeyboardInterrupt):
        run(make_job("rude"))
    assert run(make_job("rude")).sha256 == expected


def test_stages_end_with_the_same_weights(make_job, run, rude):
    expected = run(make_job(folder="without"), STAGED).sha256
    assert run(make_job("rude"), STAGED).sha256 == expected


@pytest.mark.parametrize("where", ["init", "start", "config", 2, "finish"])
def test_one_that_breaks_is_left_out_with_one_warning(make_job, run, rude, caplog, where):
    rude.breaks_at = where
    job = make_job("rude", "tensorboard")
    assert len(run(job).logs) == 4
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [f"tracker rude: no answer in {where}; the run goes on without it"]
    assert len(list(job.runs_dir.rglob("events.out.tfevents.*"))) == 1


def test_one_that_broke_is_told_all_when_the_run_goes_on(make_job, run, rude, interrupt):
    rude.breaks_at = 2
    interrupt(4)
    with pytest.raises(KeyboardInterrupt):
        run(make_job("rude"))
    assert rude.steps == [1]
    rude.breaks_at = None
    rude.steps.clear()
    run(make_job("rude"))
    # It cannot go on with a run, so this is another; the last is that of the results.
    assert rude.steps == [1, 2, 3, 4, 4]


def test_a_folder_that_cannot_be_written_breaks_nothing(make_job, run, caplog):
    job = make_job("tensorboard")
    job.runs_dir.write_text("a file")
    assert len(run(job).logs) == 4
    assert sum(record.levelname == "WARNING" for record in caplog.records) == 1


def test_trackers_are_no_settings(make_job):
    one, other = make_job("tensorboard").settings, make_job().settings
    assert settings_hash(one) == settings_hash(other)
    assert recipe_hash(one) == recipe_hash(other)
