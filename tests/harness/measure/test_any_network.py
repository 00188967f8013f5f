"""Networks as users bring them: with kept tensors, locks, inputs written in place, any layout."""

import threading

import pytest
import torch
from torch import nn

from harness.measure.accuracy import evaluate
from harness.measure.latency import measure_latency
from harness.measure.memory import measure_peak_mb
from harness.measure.networks import copy_network, meta_copy, takes_channels_last
from harness.measure.operations import count_macs, measure_operations
from harness.measure.runtimes import prepare
from harness.measure.throughput import measure_throughput
from harness.measure.torchscript import trace


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(16, 8)

    def forward(self, images):
        images -= 0.5
        return self.head(images.flatten(1))


MEASURES = {
    "operations": measure_operations,
    "memory": lambda network, image: measure_peak_mb(network, image, on_meta=False),
    "latency": lambda network, image: measure_latency(
        {"n": network}, {"n": image}, rounds=20, seconds=0.001, seed=0
    ),
    "throughput": lambda network, image: measure_throughput(
        network, image, batch_sizes=(1,), seconds=0.001
    ),
    "accuracy": lambda network, image: evaluate(network, [(image, torch.tensor([3]))], 8),
    "runtime": lambda network, image: prepare(network, image, "eager").call(image),
    "trace": lambda network, image: trace(network.eval(), image),
}


@pytest.mark.parametrize("measure", MEASURES)
def test_a_network_that_writes_to_its_input_gets_a_copy(measure):
    image = torch.rand(1, 1, 4, 4)
    before = image.clone()
    MEASURES[measure](InPlace(), image)
    assert torch.equal(image, before)


class Keeps(nn.Module):
    """Keeps results of a pass, a list of them, a lock and a generator on itself."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.lock = threading.Lock()
        self.generator = torch.Generator()
        self.kept, self.maps = None, []

    def forward(self, x):
        with self.lock:
            self.kept = self.layer(x)
            self.maps.append(self.kept * 2)
        return self.kept


def test_kept_tensors_are_copied_without_their_history():
    network = Keeps()
    network(torch.ones(1, 4))
    copied = copy_network(network)
    assert torch.equal(copied.kept, network.kept)
    assert not copied.kept.requires_grad
    assert not copied.maps[0].requires_grad
    assert copied.layer.weight is not network.layer.weight
    assert copied.lock is network.lock
    assert count_macs(network, torch.ones(1, 4)) == 16


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_weight_of_an_old_weight_norm_is_copied():
    network = nn.utils.weight_norm(nn.Linear(4, 4))
    network(torch.ones(1, 4)).sum().backward()
    copied = meta_copy(network)
    assert copied.weight_v.is_meta
    assert copied.weight.is_meta
    assert torch.equal(copy_network(network)(torch.ones(1, 4)), network(torch.ones(1, 4)))


class Strided(nn.Module):
    """Reads memory as if it were contiguous, which gives other numbers and no error."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, images):
        maps = self.convolution(images)
        return maps.as_strided((len(images), 4 * 64), (4 * 64, 1))[:, :8]


class Viewed(Strided):
    def forward(self, images):
        return self.convolution(images).view(len(images), -1)


@pytest.mark.parametrize(
    ("network", "takes"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), True),
        (Viewed(), False),
        (Strided(), False),
    ],
)
def test_a_layout_that_a_network_cannot_take_is_found_out(network, takes):
    assert takes_channels_last(network, torch.rand(2, 3, 8, 8)) == takes
