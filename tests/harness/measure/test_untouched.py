"""No measure leaves a trace on the network it is given."""

import pytest
import torch
from torch import nn

from harness.measure.accuracy import evaluate
from harness.measure.latency import measure_latency
from harness.measure.memory import measure_peak_mb
from harness.measure.networks import meta_copy
from harness.measure.operations import measure_operations
from harness.measure.throughput import measure_throughput
from harness.measure.training_memory import measure_training_peak_mb

IMAGE = torch.rand(1, 1, 4, 4)


def build():
    """A network with mixed modes, a shared weight and statistics that training would change."""
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 8)
    )
    network.append(nn.Linear(8, 8))
    network[5].weight = network[4].weight
    network.train()
    network[1].eval()
    return network


MEASURES = {
    "operations": lambda network: measure_operations(network, IMAGE),
    "memory": lambda network: measure_peak_mb(network, IMAGE),
    "latency": lambda network: measure_latency(
        {"n": network}, {"n": IMAGE}, rounds=20, seconds=0.001, seed=0
    ),
    "throughput": lambda network: measure_throughput(
        network, IMAGE, batch_sizes=(1, 2), seconds=0.001
    ),
    "training memory": lambda network: measure_training_peak_mb(
        network, IMAGE, make_optimizer=lambda trained: torch.optim.SGD(trained, lr=0.1)
    ),
    "accuracy": lambda network: evaluate(network, [(IMAGE, torch.tensor([3]))], 8),
}


@pytest.mark.parametrize("measure", MEASURES)
def test_untouched(measure):
    network = build()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    identities = [id(tensor) for tensor in network.state_dict(keep_vars=True).values()]
    MEASURES[measure](network)
    after = network.state_dict(keep_vars=True)
    assert list(after) == list(before)
    assert [id(tensor) for tensor in after.values()] == identities
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert {tensor.device.type for tensor in after.values()} == {"cpu"}
    modes = [part.training for part in network.modules()]
    assert modes == [True, True, False, True, True, True, True]
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())


def test_modes_are_put_back_when_a_network_fails():
    network = build()
    with pytest.raises(RuntimeError):
        evaluate(network, [(torch.zeros(1, 9, 9, 9), torch.tensor([0]))], 8)
    assert [part.training for part in network.modules()][:3] == [True, True, False]


def test_a_meta_copy_has_no_data_and_shares_what_the_network_shares():
    network = build()
    copied = meta_copy(network)
    assert {tensor.device.type for tensor in copied.state_dict().values()} == {"meta"}
    assert copied[4].weight is copied[5].weight
    assert not any(part.training for part in copied.modules())
    assert [p.shape for p in copied.parameters()] == [p.shape for p in network.parameters()]
