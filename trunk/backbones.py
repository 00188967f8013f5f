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


@dataclass(frozen=True, kw_only=True)
class Whitening:
    """2×2 convolution that is not trained, without padding or bias; batch norm, the activation.

    Its filters are all products of a Haar pattern and a colour (of RGB: grey, red against blue,
    green against both), and their negatives: 8 times the channels. These are nearly the principal
    components of patches of natural images, so with the norm they whiten the image, as a stem
    fitted to the images does (Jordan, 2024, arXiv:2404.00498).
    """


Layer = Conv | MaxPool | ChannelDropout | InvertedResidual | Whitening


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


def _family(root: tuple[Layer, ...], other: tuple[Layer, ...]) -> Backbone:
    layers = {"root": root, "other": other, "flat": root + other}
    return Backbone(layers=layers, activation=nn.ReLU, averages=True)


_HALF = ChannelDropout(0.5)
_POOL = MaxPool(2)

_VGG: Mapping[str, tuple[Layer, ...]] = {
    "root": (*_convs(16, 32, 32, 32, 64, 64), _POOL, _HALF),
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
    # Ours: few wide convolutions on small maps. "flat" is a root and a child in one, as a control.
    "efficient": _family(
        (
            Whitening(),
            Conv(64),
            _POOL,
            *_convs(96, 160),
            _POOL,
            *_convs(160, 160),
            _POOL,
            Conv(160),
        ),
        (Conv(72),),
    ),
    "efficient_s": _family(
        (Whitening(), Conv(48), _POOL, *_convs(48, 88), _POOL, *_convs(88, 88)),
        (_POOL, Conv(88)),
    ),
    "efficient_xs": _family(
        (Whitening(), Conv(32), _POOL, *_convs(48, 64), _POOL, *_convs(96, 96)),
        (_POOL, Conv(96)),
    ),
}
