"""The peak of a training step, derived by hand for tiny networks."""

from functools import partial

import pytest
import torch
from torch import nn

from harness.errors import CellError
from harness.measure.training_memory import measure_training_peak_mb

SGD = partial(torch.optim.SGD, lr=0.1)
MOMENTUM = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
ADAM = partial(torch.optim.Adam, lr=0.1)
ADAMW = partial(torch.optim.AdamW, lr=0.1)

LINEAR = nn.Linear(4, 3)
LINEAR_GRADIENTS = 4 * 3 + 3
# Logits of 2 images, their logarithmic softmax, the loss and the weight it was divided by.
END_OF_FORWARD = 2 * 3 + 2 * 3 + 2

CHAIN = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Tanh(), nn.Linear(8, 3))
HEAD_GRADIENTS = 8 * 3 + 3
CHAIN_GRADIENTS = 4 * 8 + 8 + HEAD_GRADIENTS

FROZEN = nn.Sequential(nn.Linear(4, 8).requires_grad_(False), nn.Linear(8, 3))


@pytest.mark.parametrize(
    ("network", "make_optimizer", "floats"),
    [
        # at the end of the second forward pass the gradients of the first step are still there
        (LINEAR, SGD, LINEAR_GRADIENTS + END_OF_FORWARD),
        (LINEAR, MOMENTUM, 2 * LINEAR_GRADIENTS + END_OF_FORWARD),
        # in the update of the weight: two moments, two counters of steps, the loss, and the root
        # of the second moment before and after its correction
        (LINEAR, ADAM, 3 * LINEAR_GRADIENTS + 2 + 1 + 2 * (4 * 3)),
        (LINEAR, ADAMW, 3 * LINEAR_GRADIENTS + 2 + 1 + 2 * (4 * 3)),
        # each Tanh keeps its result for the backward pass; no linear layer keeps its own
        (CHAIN, SGD, CHAIN_GRADIENTS + 2 * (2 * 8) + END_OF_FORWARD),
        # the frozen layer has no gradients, but its result is kept for those of the next
        (FROZEN, SGD, HEAD_GRADIENTS + 2 * 8 + END_OF_FORWARD),
    ],
    ids=["sgd", "momentum", "adam", "adamw", "kept_results", "frozen"],
)
def test_peak_by_hand(network, make_optimizer, floats):
    peak_mb = measure_training_peak_mb(network, torch.zeros(2, 4), make_optimizer=make_optimizer)
    assert peak_mb == floats * 4 / 1e6


def test_in_a_large_batch_the_results_outweigh_the_gradients():
    peak_mb = measure_training_peak_mb(CHAIN, torch.zeros(20, 4), make_optimizer=SGD)
    # in the backward pass of the second Tanh: both results, the gradient that comes and the one
    # that goes, those of the head, the loss and its own gradient
    floats = 4 * (20 * 8) + HEAD_GRADIENTS + 2
    assert peak_mb == floats * 4 / 1e6


def test_the_network_and_the_random_state_stay_as_they_are():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Dropout())
    network.append(nn.Linear(8, 3)).eval()
    network[1].train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    identities = [id(tensor) for tensor in network.state_dict(keep_vars=True).values()]
    random = torch.get_rng_state()
    with torch.no_grad():
        measure_training_peak_mb(network, torch.zeros(4, 1, 4, 4), make_optimizer=ADAM)
    after = network.state_dict(keep_vars=True)
    assert [id(tensor) for tensor in after.values()] == identities
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in network.parameters())
    modes = [part.training for part in network.modules()]
    assert modes == [False, False, True, False, False, False]


def test_a_network_whose_path_depends_on_values_is_refused_in_one_line():
    class Routed(nn.Linear):
        def forward(self, x):
            return super().forward(x if x.sum() > 0 else -x)

    with pytest.raises(CellError, match=r"^training memory cannot be followed on the meta device"):
        measure_training_peak_mb(Routed(4, 3), torch.zeros(2, 4), make_optimizer=SGD)


@pytest.mark.gpu
def test_the_allocator_of_a_gpu_sees_the_same_results():
    network = nn.Sequential(nn.Linear(2048, 2048), nn.Tanh(), nn.Linear(2048, 10))
    make_optimizer = partial(torch.optim.Adam, lr=0.1, foreach=False)
    images = torch.zeros(4096, 2048)
    followed = measure_training_peak_mb(network, images, make_optimizer=make_optimizer)
    asked = measure_training_peak_mb(network.cuda(), images.cuda(), make_optimizer=make_optimizer)
    assert asked == pytest.approx(followed, rel=0.05)
