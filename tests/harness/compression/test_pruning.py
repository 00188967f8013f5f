"""Pruning: the least important channels go, until so much work is gone; the classes stay."""

import copy
import json

import pytest
import torch
from torch import nn

from harness.compression.pruning import describe_shapes, prune, reshape
from harness.errors import RequestError
from harness.measure.operations import count_macs
from harness.networks.weights import load_state
from harness.settings_spec import PruningSettings

IMAGE = torch.zeros(1, 1, 8, 8)


def chain(first, bias=False):
    """1×1 convolutions to as many channels as `first` has weights, then to 3 classes.

    Pruning any of the channels takes 64·(1 + 3) products away.
    """
    network = nn.Sequential(
        nn.Conv2d(1, len(first), 1, bias=bias), nn.Conv2d(len(first), 3, 1, bias=False)
    )
    with torch.no_grad():
        network[0].weight.copy_(torch.as_tensor(first).reshape(-1, 1, 1, 1))
        network[1].weight.fill_(1.0)
    return network.eval()


def test_the_smallest_channels_go():
    network = chain([0.5, -4.0, 0.1, 3.0])
    prune(network, IMAGE, PruningSettings(speed_up=2, steps=4))
    assert network[0].weight.flatten().tolist() == [-4.0, 3.0]
    assert network[1].weight.shape == (3, 2, 1, 1)
    assert count_macs(network, IMAGE) == 64 * 2 * (1 + 3)


def test_a_channel_counts_with_all_that_goes_with_it():
    def network():
        made = chain([1.0, 1.0])
        with torch.no_grad():
            # Taken in with absolute values 3 and 3.6, squares 9 and 4.32.
            made[1].weight.copy_(torch.tensor([[3.0, 1.2], [0, 1.2], [0, 1.2]])[..., None, None])
        return made

    by_norm = {}
    for importance in ("l1", "group_norm"):
        made = network()
        prune(made, IMAGE, PruningSettings(steps=2, importance=importance))
        by_norm[importance] = made[1].weight.flatten().tolist()
    assert by_norm["l1"] == pytest.approx([1.2, 1.2, 1.2])
    assert by_norm["group_norm"] == [3.0, 0.0, 0.0]


@pytest.mark.parametrize("speed_up", [1.5, 2.0, 3.0])
def test_work_is_what_was_asked_for(tiny, speed_up):
    before = count_macs(tiny, IMAGE)
    prune(tiny, IMAGE, PruningSettings(speed_up=speed_up, steps=64))
    share = count_macs(tiny, IMAGE) / before
    assert 0.97 / speed_up <= share <= 1 / speed_up
    assert tiny(IMAGE).shape == (1, 3)


def test_steps_can_be_too_coarse(tiny):
    with pytest.raises(RequestError, match=r"2 steps \(pruning.steps\) go past 2 to 3\.9"):
        prune(tiny, IMAGE, PruningSettings(speed_up=2, steps=2))


def test_a_speed_up_can_be_out_of_reach(tiny):
    with pytest.raises(RequestError, match="speed_up: 1e\\+06 is out of reach: after all 8 steps"):
        prune(tiny, IMAGE, PruningSettings(speed_up=1e6, steps=8))


class Block(nn.Module):
    """A residual block with a depthwise and a grouped convolution, as MobileNet's and RegNet's."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.wide = nn.Conv2d(16, 32, 1)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.grouped = nn.Conv2d(32, 32, 3, padding=1, groups=4)
        self.narrow = nn.Conv2d(32, 16, 1)
        self.head = nn.Linear(16, 3)

    def forward(self, images):
        x = self.stem(images)
        x = x + self.narrow(self.grouped(self.depthwise(self.wide(x))).relu())
        return self.head(x.mean((2, 3)))


def test_grouped_convolutions_and_residuals_stay_whole():
    torch.manual_seed(0)
    network = Block().eval()
    before, original = count_macs(network, IMAGE), copy.deepcopy(network)
    prune(network, IMAGE, PruningSettings(steps=64))
    assert 0.485 <= count_macs(network, IMAGE) / before <= 0.5
    depthwise, grouped = network.depthwise, network.grouped
    assert depthwise.groups == depthwise.in_channels == network.wide.out_channels < 32
    assert grouped.groups == 4
    assert network.stem.out_channels == network.narrow.out_channels == network.head.in_features
    again = copy.deepcopy(original)
    reshape(again, json.loads(json.dumps(describe_shapes(network, original))))
    load_state(again, network.state_dict(), "here")
    torch.testing.assert_close(again(IMAGE + 1), network(IMAGE + 1))


class Reshapes(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 8, 1), nn.Linear(4, 3)

    def forward(self, images):
        return self.head(self.conv(images).reshape(len(images), -1, 2, 4)).mean((1, 2))


def test_what_cannot_be_pruned_is_one_line():
    with pytest.raises(RequestError, match="the network cannot be pruned: ") as caught:
        prune(Reshapes().eval(), IMAGE, PruningSettings(steps=8))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "shapes",
    [
        {},
        {"tensors": {}, "attributes": {"nowhere": {"out_channels": 3}}},
        {"tensors": {"0.nothing": [3]}, "attributes": {}},
        {"tensors": {"0.weight": ["x"]}, "attributes": {}},
    ],
)
def test_shapes_of_another_network_are_refused(tiny, shapes):
    with pytest.raises(RequestError, match="structure: not the shapes of this network"):
        reshape(tiny, shapes)
