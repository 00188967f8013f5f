"""Re-parameterised networks: both forms compute the same, and the deployed one is timed."""

import pytest
import torch
from timm.models.byobnet import MobileOneBlock, RepVggBlock
from torch import nn

from harness.networks.adapter import adapt
from harness.networks.deployed import deploy, has_deployed_form


def trained(*blocks):
    """Return blocks before a classifier, with statistics as training leaves them."""
    network = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(4, 4, 8, 8))
    return network.eval()


@pytest.mark.parametrize("block", [RepVggBlock, MobileOneBlock])
@torch.no_grad()
def test_both_forms_compute_the_same_and_the_trained_one_stays_as_it_is(block):
    torch.manual_seed(0)
    network, images = trained(block(4, 8, stride=2), block(8, 8)), torch.rand(2, 4, 8, 8)
    parts, before = len([*network.modules()]), network(images)
    deployed = deploy(network)
    assert len([*network.modules()]) == parts
    assert len([*deployed.modules()]) < parts
    assert torch.allclose(deployed(images), before, atol=1e-5)
    assert torch.equal(network(images), before)


def test_networks_of_one_form_are_timed_as_they_are():
    network = nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8))
    assert not has_deployed_form(network)
    assert adapt(network).deployed is network


def test_the_deployed_form_is_timed_in_every_runtime_and_the_method_says_so():
    adapter = adapt(trained(RepVggBlock(4, 8)))
    timed = adapter.timed_call(torch.rand(1, 4, 8, 8), "eager")
    assert timed.method.endswith(", re-parameterised")
    assert len([*timed.call.modules()]) == len([*adapter.deployed.modules()])
