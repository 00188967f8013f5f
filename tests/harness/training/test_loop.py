"""Training: it learns, it stops cleanly, and a continued run is the uninterrupted one."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from harness.errors import CellError, RequestError
from harness.networks.freezing import freeze_layers
from harness.settings_spec import TrainingSettings
from harness.training import loop
from harness.training.checkpoints import load_checkpoint
from harness.training.loop import train
from harness.training.optimizers import make_optimizer, make_schedule

RECIPE = TrainingSettings(
    epochs=4,
    batch_size=8,
    optimizer="adamw",
    learning_rate=0.01,
    schedule="one_cycle",
    channels_last=False,
)


class Blobs:
    """Two clouds of points, reshuffled every epoch."""

    steps, images = 8, 64

    def __init__(self, stop_after=None, stop_at_step=0):
        generator = torch.Generator().manual_seed(0)
        self.labels = torch.arange(64) % 2
        self.points = torch.randn(64, 5, generator=generator) + 2.0 * self.labels[:, None]
        self.stop_after, self.stop_at_step = stop_after, stop_at_step

    def epoch(self, number, first_step):
        order = torch.randperm(64, generator=torch.Generator().manual_seed(number))
        for step, chosen in enumerate(order.split(8)):
            if self.stop_after == number - 1 and step == self.stop_at_step:
                raise KeyboardInterrupt
            if step >= first_step:
                yield self.points[chosen], self.labels[chosen]


def make_network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 2)
    )


def accuracy(network):
    blobs = Blobs()
    return (network(blobs.points).argmax(1) == blobs.labels).float().mean().item()


def run(checkpoint, batches=None, recipe=RECIPE, network=None):
    network = network or make_network()
    logs = train(
        network,
        batches or Blobs(),
        recipe,
        device="cpu",
        checkpoint=checkpoint,
        checkpoint_seconds=0,
    )
    return network, logs


def test_it_learns_and_logs_every_epoch(tmp_path):
    network, logs = run(tmp_path / "c")
    assert [log["epoch"] for log in logs] == [1, 2, 3, 4]
    assert logs[-1]["loss"] < logs[0]["loss"]
    assert logs[-1]["accuracy"] > logs[0]["accuracy"]
    assert not network.training
    assert accuracy(network) > 0.9


@pytest.mark.parametrize(("stop_after", "step"), [(0, 3), (0, 7), (1, 0), (1, 5), (3, 4)])
def test_a_continued_run_ends_with_the_same_bits(tmp_path, monkeypatch, stop_after, step):
    monkeypatch.setattr(loop, "_STEPS_BETWEEN_REPORTS", 2)
    whole, whole_logs = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", Blobs(stop_after, step))
    state = load_checkpoint(tmp_path / "parts")
    assert (len(state["logs"]), state["tally"]["step"]) == (stop_after, step // 2 * 2)
    torch.manual_seed(999)
    parts, logs = run(tmp_path / "parts", network=make_network(seed=5))
    for key, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[key]), key
    assert [log | {"seconds": 0} for log in logs] == [log | {"seconds": 0} for log in whole_logs]


def test_averaged_weights_are_those_of_all_steps(tmp_path, monkeypatch):
    recipe = dataclasses.replace(RECIPE, ema_decay=0.9, epochs=2)
    steps, step = [], loop._Run._step

    def noted(self, *batch):
        found = step(self, *batch)
        steps.append({k: v.clone() for k, v in self.steps.network.state_dict().items()})
        return found

    monkeypatch.setattr(loop._Run, "_step", noted)
    network, _ = run(tmp_path / "whole", recipe=recipe)
    wanted = steps[0]
    for after in steps[1:]:
        wanted = {k: 0.9 * v + 0.1 * after[k] for k, v in wanted.items()}
    for key in ("0.weight", "1.running_mean", "4.bias"):
        torch.testing.assert_close(network.state_dict()[key], wanted[key])
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", Blobs(1, 3), recipe=recipe)
    parts, _ = run(tmp_path / "parts", recipe=recipe, network=make_network(seed=5))
    assert all(torch.equal(v, parts.state_dict()[k]) for k, v in network.state_dict().items())
    # Again from the last checkpoint, whose weights are not averaged.
    again, _ = run(tmp_path / "parts", recipe=recipe, network=make_network(seed=5))
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in network.state_dict().items())


def frozen_network(seed=0):
    network = make_network(seed)
    freeze_layers(network, 1)
    return network


def test_frozen_layers_stay_as_they_were_also_in_a_continued_run(tmp_path):
    whole, _ = run(tmp_path / "whole", network=frozen_network())
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", Blobs(2, 3), network=frozen_network())
    parts, _ = run(tmp_path / "parts", network=frozen_network(seed=5))
    before, after = make_network().state_dict(), whole.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in parts.state_dict().items())
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"4.weight", "4.bias"}


def test_a_finished_run_is_kept_without_what_a_next_step_would_need(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "c", Blobs(stop_after=3))
    assert {"optimizer", "schedule"} < load_checkpoint(tmp_path / "c").keys()
    first, logs = run(tmp_path / "c")
    assert load_checkpoint(tmp_path / "c").keys() == {"network", "random", "logs", "tally", "start"}
    again, logs_again = run(tmp_path / "c", Blobs(stop_after=0), network=make_network(seed=5))
    assert logs_again == logs
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in first.state_dict().items())


def test_another_seed_gives_other_weights(tmp_path):
    one, _ = run(tmp_path / "a", network=make_network(seed=1))
    two, _ = run(tmp_path / "b", network=make_network(seed=2))
    assert not torch.equal(one[0].weight, two[0].weight)


def test_bf16_trains_and_leaves_fp32_weights(tmp_path):
    network, _ = run(tmp_path / "c", recipe=dataclasses.replace(RECIPE, precision="bf16"))
    assert accuracy(network) > 0.9
    assert network[0].weight.dtype == torch.float32
    assert network(torch.zeros(1, 5)).dtype == torch.float32


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    recipe = dataclasses.replace(RECIPE, optimizer="sgd", learning_rate=1e30)
    with pytest.raises(CellError, match="training loss is nan in epoch 1.*learning_rate"):
        run(tmp_path / "c", recipe=recipe)
    assert not (tmp_path / "c").exists()


def test_no_whole_batch_is_a_wrong_request(tmp_path):
    batches = Blobs()
    batches.steps = 0
    with pytest.raises(RequestError, match="batch_size is 8 but there are only 64"):
        run(tmp_path / "c", batches)


def test_a_foreign_or_broken_checkpoint_is_named(tmp_path):
    run(tmp_path / "c")
    with pytest.raises(
        RequestError, match="c: a damaged checkpoint, or one of another network; delete c"
    ):
        run(tmp_path / "c", network=nn.Linear(5, 2))
    for file in tmp_path.iterdir():
        file.write_bytes(b"not a checkpoint")
    with pytest.raises(RequestError, match="a damaged checkpoint"):
        run(tmp_path / "c")


def rates(schedule, epochs, **settings):
    recipe = TrainingSettings(
        epochs=epochs, optimizer="sgd", learning_rate=1.0, schedule=schedule, **settings
    )
    optimizer = make_optimizer(nn.Linear(1, 1), recipe)
    plan = make_schedule(optimizer, recipe, steps_per_epoch=2)
    seen = []
    for _ in range(2 * epochs):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        plan.step()
    return seen


def test_schedules_are_what_they_say():
    assert rates("constant", 2) == [1.0] * 4
    assert rates("step", 3, step_epochs=(1, 2), step_factor=0.5) == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert rates("cosine", 2) == pytest.approx([1.0, 0.8535534, 0.5, 0.1464466])
    cycle = rates("one_cycle", 5, warmup_fraction=0.5)
    assert cycle[0] == pytest.approx(1 / 25)
    assert max(cycle) == pytest.approx(1.0)
    assert cycle.index(max(cycle)) == 4


def test_optimizers_carry_the_settings():
    adam = make_optimizer(nn.Linear(1, 1), TrainingSettings(weight_decay=0.1, betas=(0.8, 0.95)))
    assert type(adam) is torch.optim.Adam
    assert adam.defaults["betas"] == (0.8, 0.95)
    assert adam.defaults["weight_decay"] == 0.1


@pytest.mark.parametrize(
    "change",
    [
        {"fused_optimizer": True},
        {"micro_batch_size": 3},
        pytest.param({"compile": "default"}, marks=pytest.mark.slow),
    ],
)
def test_what_makes_training_faster_or_smaller_changes_only_the_rounding(tmp_path, change):
    plain = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 2))
    changed = copy.deepcopy(plain)
    run(tmp_path / "plain", network=plain)
    run(tmp_path / "changed", recipe=dataclasses.replace(RECIPE, **change), network=changed)
    torch.testing.assert_close(changed.state_dict(), plain.state_dict(), rtol=1e-3, atol=1e-5)


def test_a_network_comes_back_without_a_trace_of_its_training(tmp_path):
    network = make_network()
    before = set(vars(network))
    run(tmp_path / "c", recipe=dataclasses.replace(RECIPE, precision="bf16"), network=network)
    assert set(vars(network)) == before
    assert "forward" not in vars(network)
    run(tmp_path / "again", network=copy.deepcopy(network))
