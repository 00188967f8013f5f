"""Stages: done once, remembered, continued where they stopped, and refused when corrupt."""

import json

import pytest
import torch
from torch import nn

from harness.errors import RequestError
from harness.settings_spec import TrainingSettings
from harness.training import stages as module
from harness.training.stages import Stages, describe_progress

RECIPE = TrainingSettings(epochs=2, batch_size=4, learning_rate=0.05, channels_last=False)


class Points:
    steps, images = 4, 16

    def __init__(self, stop_at=None):
        generator = torch.Generator().manual_seed(0)
        self.points = torch.randn(16, 3, generator=generator)
        self.labels = (self.points[:, 0] > 0).long()
        self.stop_at = stop_at

    def epoch(self, number, first_step):
        for step in range(first_step, 4):
            if (number, step) == self.stop_at:
                raise KeyboardInterrupt
            rows = slice(4 * step, 4 * step + 4)
            yield self.points[rows], self.labels[rows]


def make_network():
    torch.manual_seed(0)
    return nn.Linear(3, 2)


@pytest.fixture
def make_stages(tmp_path):
    def make(seconds=1e9):
        return Stages(tmp_path / "s", device="cpu", checkpoint_seconds=seconds, title="cell")

    return make


def equal(one, other):
    return all(torch.equal(v, other.state_dict()[k]) for k, v in one.state_dict().items())


def test_a_finished_stage_is_not_trained_again(make_stages, monkeypatch):
    first, stages = make_network(), make_stages()
    stages.train("one", first, Points(), RECIPE)
    assert not equal(first, make_network())
    monkeypatch.setattr(module, "train", lambda *a, **k: pytest.fail("trained again"))
    second, again = make_network(), make_stages()
    again.train("one", second, Points(), RECIPE)
    assert equal(first, second)
    assert again.logs == stages.logs
    assert [(log["stage"], log["epoch"]) for log in again.logs] == [("one", 1), ("one", 2)]


def test_an_interrupted_stage_goes_on_to_the_same_weights(make_stages, tmp_path):
    whole = make_network()
    make_stages().train("whole", whole, Points(), RECIPE)
    cut = make_network()
    with pytest.raises(KeyboardInterrupt):
        make_stages().train("cut", cut, Points(stop_at=(2, 1)), RECIPE)
    assert describe_progress(tmp_path / "s") == "1 stage is done, on with cut, epoch 2, step 1"
    resumed = make_network()
    make_stages().train("cut", resumed, Points(), RECIPE)
    assert equal(whole, resumed)
    assert describe_progress(tmp_path / "s") == "2 stages are done"


def test_nothing_begun_is_no_progress(tmp_path):
    assert describe_progress(tmp_path / "nowhere") is None


def test_work_is_done_once(make_stages):
    calls = []
    for _ in range(2):
        assert make_stages().compute("sum", lambda: calls.append(1) or [1, {"a": 0.1}]) == [
            1,
            {"a": 0.1},
        ]
    assert calls == [1]


def test_a_network_is_made_once(make_stages, tmp_path):
    def make_wide():
        calls.append(1)
        return nn.Linear(5, 2)

    calls = []
    made = [
        make_stages().make(
            "wide",
            make_wide,
            describe=lambda network: {"inputs": network.in_features},
            rebuild=lambda found: nn.Linear(found["inputs"], 2),
        )
        for _ in range(2)
    ]
    assert calls == [1]
    assert equal(*made)
    assert not any(network.training for network in made)
    assert describe_progress(tmp_path / "s") == "1 stage is done"


def test_a_note_is_kept(make_stages):
    stages, again = make_stages(), make_stages()
    stages.note("accuracy", lambda: 12.5)
    again.note("accuracy", lambda: pytest.fail("measured again"))
    assert stages.notes == again.notes == {"accuracy": 12.5}


@pytest.mark.parametrize("name", ["one.json", "one.safetensors"])
def test_a_corrupt_file_is_named(make_stages, tmp_path, name):
    make_stages().train("one", make_network(), Points(), RECIPE)
    (tmp_path / "s" / name).write_bytes(b"{no")
    with pytest.raises(RequestError, match=name.replace(".", r"\.")):
        make_stages().train("one", make_network(), Points(), RECIPE)


def test_notes_are_json(make_stages, tmp_path):
    make_stages().train("one", make_network(), Points(), RECIPE)
    notes = json.loads((tmp_path / "s" / "one.json").read_text())
    assert [entry["epoch"] for entry in notes] == [1, 2]
