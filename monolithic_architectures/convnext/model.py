"""ConvNeXt-Base (Liu et al., 2022, arXiv:2201.03545)."""

from __future__ import annotations

from torch import nn
from torchvision.models import ConvNeXt_Base_Weights, convnext_base

from harness.spec import ModelSpec


def build(num_classes: int, in_channels: int, pretrained: bool) -> nn.Module:
    """Return torchvision's ConvNeXt-Base with a new head and, unless images are RGB, a new stem.

    The new stem is a convolution without the layer norm that the RGB stem has: that is how the
    published weights were made.
    """
    weights = ConvNeXt_Base_Weights.IMAGENET1K_V1 if pretrained else None
    network: nn.Module = convnext_base(weights=weights)
    if in_channels != 3:
        network.set_submodule("features.0", nn.Conv2d(in_channels, 128, kernel_size=4, stride=4))
    network.set_submodule("classifier.2", nn.Linear(1024, num_classes))
    return network


SPEC = ModelSpec(label="ConvNeXt-Base", build=build, image_size=224, pretrained="IMAGENET1K_V1")
