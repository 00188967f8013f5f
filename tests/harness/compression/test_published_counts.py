"""What the published tables print of the compressed rows, found again."""

import pytest
import torch
from torch import nn

from harness.catalog import load_model
from harness.compression.pruning import prune, reshape
from harness.compression.quantization import prepare
from harness.measure.memory import measure_weights_mb
from harness.measure.operations import measure_operations
from harness.settings_spec import PruningSettings

WIDTHS = [*(45, 45, 90, 90), *(181, 181, 181), *(362, 362, 362), *(362, 362, 362)]
# Image channels, classes, side, and what is printed: 10^9 of thop; MB of the file.
PRINTED = [(3, 10, 32, "0.20"), (1, 47, 224, "9.74"), (3, 10, 224, "9.78")]
FILE_MB = 29.52


def pruned_shapes(network):
    """Return the shapes of the network with the published widths."""
    attributes, tensors, before = {}, {}, None
    for name, part in network.named_modules():
        if isinstance(part, nn.Conv2d):
            width = WIDTHS[len(attributes) // 2]
            into = before or part.in_channels
            attributes[name] = {"in_channels": into, "out_channels": width}
            tensors |= {f"{name}.weight": [width, into, 3, 3], f"{name}.bias": [width]}
            before = width
        elif isinstance(part, nn.BatchNorm2d):
            attributes[name] = {"num_features": before}
            keys = ("weight", "bias", "running_mean", "running_var")
            tensors |= {f"{name}.{key}": [before] for key in keys}
        elif isinstance(part, nn.Linear):
            attributes[name] = {"in_features": before}
            tensors[f"{name}.weight"] = [part.out_features, before]
    return {"attributes": attributes, "tensors": tensors}


@pytest.mark.parametrize(("channels", "classes", "side", "printed"), PRINTED)
def test_vgg_pruned_to_half_is_the_published_network(channels, classes, side, printed):
    network = load_model("vgg_bn").build(classes, channels, False).eval()
    reshape(network, pruned_shapes(network))
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


@pytest.mark.slow
def test_thop_knows_no_layer_that_is_trained_quantised():
    import thop

    image = torch.zeros(1, 3, 224, 224)
    network = load_model("resnet").build(10, 3, False).eval()
    fake = prepare(network, "fbgemm", image).eval()
    macs, _ = thop.profile(fake, inputs=(image,), verbose=False)
    # Only batch norm, at 4 an element, and the mean over the last map: 49 + 1 for each channel.
    norms = 4 * sum_of_outputs(network, image, nn.BatchNorm2d)
    assert macs == norms + 50 * 2048
    assert macs / 1e9 == pytest.approx(0.0446, abs=5e-5)


def sum_of_outputs(network, image, kind):
    sizes = []
    for part in network.modules():
        if isinstance(part, kind):
            part.register_forward_hook(lambda _, inputs, output: sizes.append(output.numel()))
    with torch.no_grad():
        network(image)
    return sum(sizes)
