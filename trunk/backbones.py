"""Families of node networks as data: layer lists by name.

`vgg` and `mobilenet` describe the published weight files (configs/published/trunk_weights.csv). The
others are ours; docs/trunk.md compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Conv:
    """3×3 convolution with padding 1 and a bias, then batch norm and the activation."""

    channels: int
    stride: int = 1


@dataclass(frozen=True)
class MaxPool:
    """Maximum over squares of `size`×`size` pixels."""

    size: int


@dataclass(frozen=True)
class ChannelDropout:
    """Dropout of whole channels, in training."""

    probability: float


@dataclass(frozen=True)
class InvertedResidual:
    """1×1 convolution to `expansion` times the channels, 3×3 depthwise, 1×1 to `channels`.

    Each has no bias and is followed by batch norm and the activation; the input is added where
    the shapes agree.
    """

    channels: int
    expansion: int


@dataclass(frozen=True)
class Residual:
    """Two 3×3 convolutions without bias, each with batch norm, and a shortcut around both.

    The basic block of He et al., CVPR 2016, arXiv:1512.03385. The first convolution has the
    stride. Where the shape changes, the shortcut is a 1×1 convolution with batch norm.
    """

    channels: int
    stride: int = 1


Layer = Conv | MaxPool | ChannelDropout | InvertedResidual | Residual


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A family of node networks.

    Attributes:
        layers: Layer lists by name: "root" for the root, "other" for the other nodes unless the
            tree says otherwise.
        activation: The activation after each batch norm.
        averages: Whether the head is a 1×1 convolution averaged over the map, rather than a
            linear layer over the flattened map.
        pointwise_padding: Zeros around the input of each 1×1 convolution of an inverted residual.
    """

    layers: Mapping[str, tuple[Layer, ...]]
    activation: type[nn.ReLU] | type[nn.ReLU6]
    averages: bool
    pointwise_padding: int = 0


def _convs(*channels: int) -> tuple[Conv, ...]:
    return tuple(map(Conv, channels))


def _residuals(*channels: int, stride: int = 1) -> tuple[Residual, ...]:
    """Return residual blocks, the first of them with a stride."""
    first, *others = channels
    return Residual(first, stride), *map(Residual, others)


def _residual_family(root: tuple[Layer, ...], other: tuple[Layer, ...]) -> Backbone:
    layers = {"root": root, "other": other, "flat": root + other}
    return Backbone(layers=layers, activation=nn.ReLU, averages=True)


_HALF = ChannelDropout(0.5)

_VGG: Mapping[str, tuple[Layer, ...]] = {
    "root": (*_convs(16, 32, 32, 32, 64, 64), MaxPool(2), _HALF),
    "other": (*_convs(16, 32, 32, 64), Conv(64, stride=2), Conv(128, stride=2), _HALF),
    # Two nodes with two outputs and the one with three of the published CIFAR-10 tree.
    "pair": (*_convs(64, 32), _HALF),
    "triple": (*_convs(32, 32, 64, 128), Conv(128, stride=2), _HALF),
}

_MOBILENET: Mapping[str, tuple[Layer, ...]] = {
    "root": (
        Conv(24, stride=2),
        InvertedResidual(24, expansion=2),
        *(InvertedResidual(channels, expansion=4) for channels in (24, 24, 32, 32, 32)),
    ),
    "other": (InvertedResidual(48, expansion=4),) * 3,
}

BACKBONES: Mapping[str, Backbone] = {
    "vgg": Backbone(layers=_VGG, activation=nn.ReLU, averages=False),
    # As published: every 1×1 convolution pads, so maps grow by 4 pixels a block and no input is
    # ever added.
    "mobilenet": Backbone(
        layers=_MOBILENET, activation=nn.ReLU6, averages=True, pointwise_padding=1
    ),
    # Ours: the same layers without that padding; maps keep their size, inputs are added.
    "compact": Backbone(layers=_MOBILENET, activation=nn.ReLU6, averages=True),
    # Ours: residual blocks. The "flat" lists are a root and a child in one, as controls.
    "efficient": _residual_family(
        (Conv(32), *_residuals(32, 32, 32), *_residuals(48, 48, stride=2)),
        _residuals(64, 64, stride=2),
    ),
    "efficient_s": _residual_family(
        (Conv(16), *_residuals(16, 16, 16), *_residuals(32, 32, 32, stride=2)),
        _residuals(64, 64, 64, stride=2),
    ),
    "efficient_xs": _residual_family(
        (Conv(32), MaxPool(2), *_residuals(32, 32), *_residuals(64, 64, stride=2)),
        _residuals(96, stride=2),
    ),
}
