"""ResNet-20 for small images (He et al., 2016, arXiv:1512.03385, section 4.2)."""

from __future__ import annotations

from torch import nn
from torchvision.models.resnet import BasicBlock

from harness.spec import ModelSpec

_WIDTHS = (16, 32, 64)


def build(num_classes: int, in_channels: int, pretrained: bool) -> nn.Module:
    """Return three stages of three basic blocks; projections where the shape changes."""
    del pretrained
    stem = nn.Conv2d(in_channels, _WIDTHS[0], kernel_size=3, padding=1, bias=False)
    layers = [stem, nn.BatchNorm2d(_WIDTHS[0]), nn.ReLU(inplace=True)]
    channels = _WIDTHS[0]
    for width in _WIDTHS:
        for _ in range(3):
            layers.append(_block(channels, width))
            channels = width
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes)]
    return nn.Sequential(*layers, *head)


def _block(channels: int, width: int) -> BasicBlock:
    if channels == width:
        return BasicBlock(channels, width)
    around = nn.Sequential(
        nn.Conv2d(channels, width, kernel_size=1, stride=2, bias=False), nn.BatchNorm2d(width)
    )
    return BasicBlock(channels, width, stride=2, downsample=around)


SPEC = ModelSpec(label="ResNet-20", build=build, image_size=32)
