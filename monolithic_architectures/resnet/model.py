"""ResNet-50 (He et al., 2015, arXiv:1512.03385)."""

from __future__ import annotations

from torch import nn
from torchvision.models import ResNet50_Weights, resnet50

from harness.spec import ModelSpec


def build(num_classes: int, in_channels: int, pretrained: bool) -> nn.Module:
    """Return torchvision's ResNet-50 with a new head and, unless images are RGB, a new stem."""
    network: nn.Module = resnet50(weights=ResNet50_Weights.IMAGENET1K_V1 if pretrained else None)
    if in_channels != 3:
        stem = nn.Conv2d(in_channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
        network.set_submodule("conv1", stem)
    network.set_submodule("fc", nn.Linear(2048, num_classes))
    return network


SPEC = ModelSpec(label="ResNet-50", build=build, image_size=224, pretrained="IMAGENET1K_V1")
