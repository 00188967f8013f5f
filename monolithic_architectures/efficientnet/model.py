"""EfficientNet-B0 (Tan and Le, 2019, arXiv:1905.11946)."""

from __future__ import annotations

from torch import nn
from torchvision.models import EfficientNet_B0_Weights, efficientnet_b0

from harness.spec import ModelSpec


def build(num_classes: int, in_channels: int, pretrained: bool) -> nn.Module:
    """Return torchvision's EfficientNet-B0 with a new head and, unless RGB, a new stem."""
    weights = EfficientNet_B0_Weights.IMAGENET1K_V1 if pretrained else None
    network: nn.Module = efficientnet_b0(weights=weights)
    if in_channels != 3:
        stem = nn.Conv2d(in_channels, 32, kernel_size=3, stride=2, padding=1, bias=False)
        network.set_submodule("features.0.0", stem)
    network.set_submodule("classifier.1", nn.Linear(1280, num_classes))
    return network


SPEC = ModelSpec(label="EfficientNet-B0", build=build, image_size=224, pretrained="IMAGENET1K_V1")
