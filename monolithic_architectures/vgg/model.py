"""VGG-16 (Simonyan and Zisserman, 2014, arXiv:1409.1556)."""

from __future__ import annotations

from torch import nn
from torchvision.models import VGG16_Weights, vgg16

from harness.spec import ModelSpec


def build(num_classes: int, in_channels: int, pretrained: bool) -> nn.Module:
    """Return torchvision's VGG-16 with a new head and, unless images are RGB, a new stem."""
    network: nn.Module = vgg16(weights=VGG16_Weights.IMAGENET1K_V1 if pretrained else None)
    if in_channels != 3:
        network.set_submodule("features.0", nn.Conv2d(in_channels, 64, kernel_size=3, padding=1))
    network.set_submodule("classifier.6", nn.Linear(4096, num_classes))
    return network


SPEC = ModelSpec(label="VGG-16", build=build, image_size=224, pretrained="IMAGENET1K_V1")
