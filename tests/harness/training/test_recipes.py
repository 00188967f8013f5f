"""Recipes: what each setting of optimizer, schedule and loss does, also in a continued run."""

import dataclasses
import math

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn
from torchvision.models import VisionTransformer

from harness.data.batches import ImageBatches
from harness.data.preprocess import Preprocess
from harness.data.splits import MemorySplit
from harness.settings_spec import TrainingSettings
from harness.training.loop import train
from harness.training.optimizers import make_optimizer, make_schedule
from harness.training.steps import Steps, cross_entropy

ALL = TrainingSettings(
    epochs=3,
    batch_size=8,
    optimizer="sgd",
    learning_rate=0.05,
    schedule="cosine",
    warmup_epochs=1.5,
    layer_decay=0.5,
    max_gradient_norm=0.1,
    label_smoothing=0.1,
    balance_classes=True,
    random_resized_crop=(0.3, 1.0),
    mixup_alpha=0.4,
    cutmix_alpha=1.0,
    ema_decay=0.9,
)


def rates(schedule, epochs, network=None, **settings):
    """Return the learning rates of each step, two an epoch, one for each group of parameters."""
    recipe = TrainingSettings(
        epochs=epochs, optimizer="sgd", learning_rate=1.0, schedule=schedule, **settings
    )
    optimizer = make_optimizer(network or nn.Linear(1, 1), recipe)
    plan = make_schedule(optimizer, recipe, steps_per_epoch=2)
    seen = []
    for _ in range(2 * epochs):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        plan.step()
    return seen if network else [rate for (rate,) in seen]


def test_a_schedule_follows_its_warm_up():
    rising = [1 / 3, 2 / 3]
    assert rates("constant", 2, warmup_epochs=1.5) == pytest.approx([0.25, 0.5, 0.75, 1])
    assert rates("constant", 2, warmup_epochs=0.1) == pytest.approx([0.5, 1, 1, 1])
    falling = [1, 0.8535534, 0.5, 0.1464466]
    assert rates("cosine", 3, warmup_epochs=1) == pytest.approx(rising + falling)
    step = rates("step", 3, warmup_epochs=1, step_epochs=(2,), step_factor=0.5)
    assert step == pytest.approx([*rising, 1, 1, 0.5, 0.5])


def test_the_cosine_reaches_zero_when_it_says_with_a_warm_up_too():
    slow = [(1 + math.cos(math.pi * step / 8)) / 2 for step in range(4)]
    assert rates("cosine", 2, cosine_epochs=4) == pytest.approx(slow)
    late = rates("cosine", 3, cosine_epochs=5, warmup_epochs=1)
    assert late == pytest.approx([1 / 3, 2 / 3, *slow])


def test_momentum_is_that_of_the_recipe():
    recipe = TrainingSettings(optimizer="sgd", momentum=0.7)
    assert make_optimizer(nn.Linear(1, 1), recipe).defaults["momentum"] == 0.7


@pytest.mark.parametrize(("limit", "length"), [(None, 10), (100.0, 10), (0.5, 0.5)])
def test_a_long_gradient_is_scaled_down_to_the_largest_norm(limit, length):
    recipe = TrainingSettings(
        optimizer="sgd", momentum=0, learning_rate=1.0, max_gradient_norm=limit
    )
    network = nn.Linear(2, 1, bias=False)
    steps = Steps(network, recipe, "cpu", 1, lambda net, x, _: (net(x).mean(), torch.ones(len(x))))
    before = network.weight.detach().clone()
    steps.take(torch.tensor([[6.0, 8.0]]), torch.zeros(1), 1)
    change = before - network.weight.detach()
    torch.testing.assert_close(change, torch.tensor([[0.6, 0.8]]) * length)


class Fixed(nn.Module):
    """The same logits for whatever comes in."""

    def __init__(self, *logits):
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, inputs):
        return self.logits.expand(len(inputs), -1)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_loss_of_shares_is_the_same_share_of_losses(smoothing):
    network, inputs = Fixed(2.0, -1.0, 0.5, 0.0), torch.zeros(1, 1)
    log = network.logits.log_softmax(0)

    def loss_of(label):
        loss, _ = cross_entropy(network, inputs, torch.tensor([label]), label_smoothing=smoothing)
        assert loss.item() == pytest.approx(
            -((1 - smoothing) * log[label] + smoothing * log.mean()).item()
        )
        return loss.item()

    # Three classes in the batch, and a network with one output more.
    shares = torch.tensor([[0.25, 0.75, 0.0]])
    loss, right = cross_entropy(network, inputs, shares, label_smoothing=smoothing)
    assert loss.item() == pytest.approx(0.25 * loss_of(0) + 0.75 * loss_of(1))
    assert right.tolist() == [False]


def test_a_mixed_image_is_right_when_its_larger_part_is_found():
    shares = torch.tensor([[0.6, 0.4], [0.4, 0.6], [1.0, 0.0]])
    _, right = cross_entropy(Fixed(1.0, 0.0), torch.zeros(3, 1), shares, label_smoothing=0.0)
    assert right.tolist() == [True, False, True]


def vit():
    return VisionTransformer(
        image_size=8, patch_size=4, num_layers=3, num_heads=2, hidden_dim=8, mlp_dim=8,
        num_classes=3,
    )  # fmt: skip


def deit(**options):
    return timm.create_model("deit_tiny_patch16_224", embed_dim=24, num_heads=2, depth=3, **options)


def rates_by_name(network, **settings):
    recipe = TrainingSettings(learning_rate=1.0, layer_decay=0.5, **settings)
    groups = make_optimizer(network, recipe).param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    return {name: rates.get(id(p)) for name, p in network.named_parameters()}


def test_each_layer_of_a_transformer_learns_slower_than_the_next():
    found = rates_by_name(vit())
    stem = ("conv_proj.weight", "class_token", "encoder.pos_embedding")
    blocks = [f"encoder.layers.encoder_layer_{layer}.mlp.0.weight" for layer in range(3)]
    assert [found[name] for name in stem] == [0.5**4] * 3
    assert [found[name] for name in blocks] == [0.5**3, 0.5**2, 0.5]
    assert (found["encoder.ln.weight"], found["heads.head.weight"]) == (0.5, 1)
    assert None not in found.values()


@pytest.mark.parametrize(
    "network",
    [
        deit(),
        deit(num_classes=0),
        timm.create_model("convnext_atto", depths=(1, 1, 3, 1), dims=(8, 8, 8, 8)),
    ],
    ids=["deit", "no head", "convnext"],
)
def test_a_network_of_timm_has_the_rates_that_timm_gives_it(network):
    named = {id(p): name for name, p in network.named_parameters()}
    groups = param_groups_layer_decay(network, layer_decay=0.5)
    wanted = {named[id(p)]: group["lr_scale"] for group in groups for p in group["params"]}
    assert rates_by_name(network) == wanted
    assert max(wanted.values()) == 1


def test_frozen_layers_have_no_rate_and_the_others_keep_theirs():
    network = vit()
    network.conv_proj.requires_grad_(False)
    free = rates_by_name(vit())
    assert rates_by_name(network) == free | {"conv_proj.weight": None, "conv_proj.bias": None}


def test_parameters_without_layers_have_the_whole_rate():
    # As the memory of a training step is measured.
    loose = nn.ParameterList([torch.zeros(2), torch.zeros(3)])
    assert set(rates_by_name(loose).values()) == {1}


@pytest.mark.parametrize(
    ("schedule", "settings"),
    [("one_cycle", {}), ("cosine", {"warmup_epochs": 1}), ("step", {"step_epochs": (1,)})],
)
def test_a_schedule_keeps_the_ratios_of_the_layers(schedule, settings):
    # OneCycleLR sets the rates itself.
    single = rates(schedule, 2, **settings)
    layers = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1), nn.Linear(1, 1))
    for rate, found in zip(
        single, rates(schedule, 2, layers, layer_decay=0.5, **settings), strict=True
    ):
        assert found == pytest.approx([rate, rate / 2, rate / 4])


class StopError(Exception):
    pass


def make_network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU()),
        *(nn.Flatten(), nn.Dropout(0.2), nn.Linear(4 * 4 * 4, 3)),
    )


def train_on_images(folder, recipe, seed=0, stop_at=None):
    """Train until a step of an epoch, if one is given, and return the network and its logs."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (50, 1, 9, 9), dtype=torch.uint8, generator=generator)
    split = MemorySplit(pixels, torch.randint(3, (50,), generator=generator))
    batches = ImageBatches(
        split, Preprocess(image_size=8, mean=(0.5,), std=(0.5,)), recipe, 5, "cpu"
    )
    whole, network = batches.epoch, make_network(seed)

    def epoch(number, first_step):
        for step, batch in enumerate(whole(number, first_step), start=first_step):
            if (number, step) == stop_at:
                raise StopError
            yield batch

    batches.epoch = epoch
    logs = train(
        network, batches, recipe, device="cpu", checkpoint=folder / "c", checkpoint_seconds=0
    )
    return network, [log | {"seconds": 0} for log in logs]


# In the warm-up, at its end, and after it.
@pytest.mark.parametrize("stop_at", [(1, 4), (2, 3), (3, 2)])
def test_a_continued_run_with_all_settings_ends_with_the_same_bits(tmp_path, monkeypatch, stop_at):
    monkeypatch.setattr("harness.training.loop._STEPS_BETWEEN_REPORTS", 1)
    whole, logs = train_on_images(tmp_path / "whole", ALL)
    with pytest.raises(StopError):
        train_on_images(tmp_path / "parts", ALL, stop_at=stop_at)
    parts, again = train_on_images(tmp_path / "parts", ALL, seed=9)
    assert again == logs
    assert all(torch.equal(v, parts.state_dict()[k]) for k, v in whole.state_dict().items())
    assert all(0 <= log["accuracy"] <= 1 for log in logs)
    # Of the head: the first and the seventh of nine steps up to 0.05.
    assert [log["learning_rate"] for log in logs][:2] == pytest.approx([0.005, 0.035])


@pytest.mark.parametrize(
    "off",
    [
        {"warmup_epochs": None},
        {"layer_decay": None},
        {"random_resized_crop": None},
        {"mixup_alpha": None},
        {"cutmix_alpha": None},
        {"label_smoothing": 0.0},
        {"balance_classes": False},
        {"max_gradient_norm": None},
        {"ema_decay": None},
    ],
    ids=lambda off: next(iter(off)),
)
def test_each_setting_changes_what_is_trained(tmp_path, off):
    with_all, _ = train_on_images(tmp_path / "all", dataclasses.replace(ALL, epochs=2))
    without, _ = train_on_images(tmp_path / "off", dataclasses.replace(ALL, epochs=2, **off))
    assert not torch.equal(with_all[0].weight, without[0].weight)


def test_mixed_batches_are_trained_in_parts_as_in_whole():
    generator = torch.Generator().manual_seed(0)
    inputs, shares = (torch.rand(8, size, generator=generator) for size in (5, 3))
    found = []
    for size in (None, 3):
        network = nn.Linear(5, 4)
        nn.init.eye_(network.weight)
        nn.init.zeros_(network.bias)
        recipe = dataclasses.replace(ALL, layer_decay=None, micro_batch_size=size)
        loss, correct = Steps(network, recipe, "cpu", 6).take(
            inputs, shares / shares.sum(1)[:, None], 8
        )
        found.append((loss, correct, network.weight.detach()))
    for whole, parts in zip(*found, strict=True):
        torch.testing.assert_close(parts, whole)
