"""MobileNetV2 (Sandler et al., 2018, arXiv:1801.04381)."""

from __future__ import annotations

from torch import nn
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

from harness.spec import ModelSpec


def build(num_classes: int, in_channels: int, pretrained: bool) -> nn.Module:
    """Return torchvision's MobileNetV2 with a new head and, unless images are RGB, a new stem."""
    weights = MobileNet_V2_Weights.IMAGENET1K_V1 if pretrained else None
    network: nn.Module = mobilenet_v2(weights=weights)
    if in_channels != 3:
        stem = nn.Conv2d(in_channels, 32, kernel_size=3, stride=2, padding=1, bias=False)
        network.set_submodule("features.0.0", stem)
    network.set_submodule("classifier.1", nn.Linear(1280, num_classes))
    return network


SPEC = ModelSpec(label="MobileNetV2", build=build, image_size=224, pretrained="IMAGENET1K_V1")
