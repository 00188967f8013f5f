"""VGG-16 with batch norm and one linear layer, as pruning papers take it (arXiv:1409.1556)."""

from __future__ import annotations

from torch import nn
from torchvision.models import VGG16_BN_Weights, vgg16_bn
from torchvision.models.vgg import make_layers

from harness.spec import ModelSpec

# Widths of the 13 convolutions. There are only three max-pools ("M"), so that the last six
# convolutions see the same map, as in Torch-Pruning's CIFAR benchmark, for images of 32 pixels on.
LAYERS = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", *[512] * 6]


def build(num_classes: int, in_channels: int, pretrained: bool) -> nn.Module:
    """Return the convolutions, their mean over the map, and a linear layer; maybe a new stem."""
    features: nn.Module = make_layers(LAYERS, batch_norm=True)
    if pretrained:
        _copy_layers(vgg16_bn(weights=VGG16_BN_Weights.IMAGENET1K_V1).features, features)
    if in_channels != 3:
        features.set_submodule("0", nn.Conv2d(in_channels, 64, kernel_size=3, padding=1))
    head = nn.Linear(512, num_classes)
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


def _copy_layers(source: nn.Module, target: nn.Module) -> None:
    old, new = (
        [part for part in parts.children() if isinstance(part, (nn.Conv2d, nn.BatchNorm2d))]
        for parts in (source, target)
    )
    for one, other in zip(old, new, strict=True):
        other.load_state_dict(one.state_dict())


SPEC = ModelSpec(label="VGG-16-BN", build=build, image_size=224, pretrained="IMAGENET1K_V1")
