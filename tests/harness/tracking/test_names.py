"""Which trackers are meant, and what is said about those that cannot be had."""

import pytest

from harness.errors import RequestError
from harness.tracking import names
from harness.tracking.names import choose_trackers


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ([], ("tensorboard",)),
        (["none"], ()),
        (["none,none"], ()),
        (["ml-dash, tensorboard", "mlflow"], ("ml-dash", "tensorboard", "mlflow")),
        (["mlflow", "mlflow"], ("mlflow",)),
    ],
)
def test_names_and_comma_lists(monkeypatch, asked, chosen):
    monkeypatch.setattr(names, "_is_installed", lambda package: True)
    assert choose_trackers(asked, offline=True) == chosen


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["tensorbord"], "unknown tracker 'tensorbord': did you mean tensorboard"),
        (["mldash"], "unknown tracker 'mldash': did you mean ml-dash"),
        (["nne"], "unknown tracker 'nne': did you mean none"),
        (["all"], "unknown tracker 'all'"),
        ([""], "'' names no tracker"),
        (["mlflow", " , "], "' , ' names no tracker"),
        (["none,tensorboard"], "--tracker none: nothing can be tracked beside it"),
    ],
)
def test_names_that_mean_nothing(asked, words):
    with pytest.raises(RequestError, match=words):
        choose_trackers(asked, offline=False)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wandb", r"tracker wandb needs wandb: uv sync --extra wandb, or pip install wandb \("),
        ("mlflow", "needs mlflow-skinny, sqlalchemy, alembic: uv sync --extra mlflow, or pip"),
        ("ml-dash", "tracker ml-dash needs ml-dash: uv sync --extra ml-dash, or pip install"),
        ("comet_ml", "tracker comet_ml needs comet-ml: pip install comet-ml$"),
    ],
)
def test_one_that_is_not_installed(monkeypatch, name, words):
    monkeypatch.setattr(names, "_is_installed", lambda package: False)
    with pytest.raises(RequestError, match=words):
        choose_trackers([name], offline=False)


def test_a_folder_of_its_name_is_no_tracker(tmp_path, monkeypatch):
    (tmp_path / "swanlab").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RequestError, match="tracker swanlab needs swanlab"):
        choose_trackers(["swanlab"], offline=False)


def test_offline_leaves_those_that_are_known_to_stay_here(monkeypatch):
    monkeypatch.setattr(names, "_is_installed", lambda package: True)
    with pytest.raises(RequestError, match="--offline: tracker clearml may use the network"):
        choose_trackers(["clearml"], offline=True)
    assert choose_trackers(["clearml"], offline=False) == ("clearml",)
    assert choose_trackers(["wandb"], offline=True) == ("wandb",)
