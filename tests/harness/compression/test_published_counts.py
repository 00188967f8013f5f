"""What the published tables print of the compressed rows, found again."""

import pytest
import torch
from torch import nn

from harness.catalog import load_model
from harness.compression.pruning import prune
from harness.compression.published import narrow_vgg_bn, observe_resnet
from harness.errors import RequestError
from harness.measure.memory import measure_weights_mb
from harness.measure.operations import measure_operations
from harness.settings_spec import PruningSettings

WIDTHS = [*(45, 45, 90, 90), *(181, 181, 181), *(362, 362, 362), *(362, 362, 362)]
# Image channels, classes, side, and what is printed: 10^9 of thop; MB of the file.
PRINTED = [(3, 10, 32, "0.20"), (1, 47, 224, "9.74"), (3, 10, 224, "9.78")]
FILE_MB = 29.52


@pytest.mark.parametrize(("channels", "classes", "side", "printed"), PRINTED)
def test_vgg_pruned_to_half_is_the_published_network(channels, classes, side, printed):
    network = load_model("vgg_bn").build(classes, channels, False).eval()
    narrow_vgg_bn(network, WIDTHS)
    operations = measure_operations(network, torch.zeros(1, channels, side, side))
    assert f"{operations.gmacs_thop:.2f}" == printed
    if classes == 10:
        # A saved file has some kilobytes of names beside the numbers.
        assert 0 <= FILE_MB - measure_weights_mb(network) < 0.05


@pytest.mark.slow
def test_pruning_comes_to_the_published_widths():
    network = load_model("vgg_bn").build(10, 3, False).eval()
    prune(network, torch.zeros(1, 3, 32, 32), PruningSettings())
    found = [part.out_channels for part in network.modules() if isinstance(part, nn.Conv2d)]
    assert found == WIDTHS


def test_other_convolutions_than_those_of_the_network_are_refused():
    network = load_model("vgg_bn").build(10, 3, False)
    with pytest.raises(RequestError, match="12 convolutions, VGG-16-BN has 13"):
        narrow_vgg_bn(network, WIDTHS[:12])


def test_observers_round_nothing_and_follow_every_layer():
    network = load_model("resnet").build(10, 3, False).eval()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    observed = observe_resnet(network)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted, found, counted = (f(images) for f in (network, observed, observed.float_network()))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert torch.equal(found, counted)
    state = observed.state_dict()
    # The third convolution of a block keeps its batch norm, the others have none any more.
    assert {key.split(".")[3] for key in state if "layer1.0.bn" in key} == {"bn3"}
    assert state["model_fp32.fc.weight_fake_quant.max_val"].shape == (10,)
    assert observed.quant.activation_post_process.max_val == images.max()
