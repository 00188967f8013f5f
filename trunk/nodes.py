"""Node networks: the published layer lists as data, and networks built from them.

The lists describe the published weight files (configs/published/trunk_weights.csv), whose state
dicts load into these networks key by key.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from harness.errors import RequestError, unknown_name
from trunk.tree import NodeNetwork

Shape = tuple[int, int, int]
"""Channels, height and width of an image or a feature map."""


@dataclass(frozen=True, kw_only=True)
class Conv:
    """3×3 convolution with padding 1 and a bias, then batch norm and the activation."""

    channels: int
    stride: int = 1


@dataclass(frozen=True, kw_only=True)
class MaxPool:
    """Maximum over squares of `size`×`size` pixels."""

    size: int


@dataclass(frozen=True, kw_only=True)
class ChannelDropout:
    """Dropout of whole channels, in training."""

    probability: float


@dataclass(frozen=True, kw_only=True)
class InvertedResidual:
    """1×1 convolution to `expansion` times the channels, 3×3 depthwise, 1×1 to `channels`.

    Each has no bias and is followed by batch norm and the activation; the input is added where
    the shapes agree.
    """

    channels: int
    expansion: int


Layer = Conv | MaxPool | ChannelDropout | InvertedResidual


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
    return tuple(Conv(channels=count) for count in channels)


_HALF = ChannelDropout(probability=0.5)

_VGG: Mapping[str, tuple[Layer, ...]] = {
    "root": (*_convs(16, 32, 32, 32, 64, 64), MaxPool(size=2), _HALF),
    "other": (
        *_convs(16, 32, 32, 64),
        Conv(channels=64, stride=2),
        Conv(channels=128, stride=2),
        _HALF,
    ),
    # Two nodes with two outputs and the one with three of the published CIFAR-10 tree.
    "pair": (*_convs(64, 32), _HALF),
    "triple": (*_convs(32, 32, 64, 128), Conv(channels=128, stride=2), _HALF),
}

_MOBILENET: Mapping[str, tuple[Layer, ...]] = {
    "root": (
        Conv(channels=24, stride=2),
        InvertedResidual(channels=24, expansion=2),
        InvertedResidual(channels=24, expansion=4),
        InvertedResidual(channels=24, expansion=4),
        InvertedResidual(channels=32, expansion=4),
        InvertedResidual(channels=32, expansion=4),
        InvertedResidual(channels=32, expansion=4),
    ),
    "other": (InvertedResidual(channels=48, expansion=4),) * 3,
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
}


class NodeModule(nn.Module):
    """A node's network: a feature map for its child nodes, and a choice among its children."""

    def __init__(self, features: nn.Sequential, classifier: nn.Sequential) -> None:
        super().__init__()
        self.features = features
        self.classifier = classifier

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the feature map N×C×H×W and the logits N×outputs of images or maps."""
        maps = self.features(inputs)
        return maps, self.classifier(maps)


def build_node(network: NodeNetwork) -> NodeModule:
    """Build a node's network with random weights.

    Raises:
        RequestError: The backbone or layer list is unknown, or the input is too small.
    """
    backbone, layers = _description(network)
    shape = network.input_shape
    modules: list[nn.Module] = []
    for layer in layers:
        modules += _modules(layer, shape[0], backbone)
        shape = _shape_after(layer, shape, backbone)
    return NodeModule(nn.Sequential(*modules), _head(shape, network.outputs, backbone))


def feature_shape(network: NodeNetwork) -> Shape:
    """Return the shape of a node's feature map, which is the input shape of its child nodes.

    Raises:
        RequestError: As `build_node`.
    """
    backbone, layers = _description(network)
    shape = network.input_shape
    for layer in layers:
        shape = _shape_after(layer, shape, backbone)
    return shape


def fold_batch_norm(network: nn.Module) -> None:
    """Fold each batch norm into the convolution before it, in place; only for evaluation mode."""
    for sequence in network.modules():
        if isinstance(sequence, nn.Sequential):
            for index in reversed(range(1, len(sequence))):
                convolution, norm = sequence[index - 1], sequence[index]
                if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    sequence[index - 1] = fuse_conv_bn_eval(convolution, norm)
                    del sequence[index]


def _description(network: NodeNetwork) -> tuple[Backbone, tuple[Layer, ...]]:
    if network.backbone not in BACKBONES:
        raise unknown_name("backbone", network.backbone, BACKBONES)
    backbone = BACKBONES[network.backbone]
    if network.layers not in backbone.layers:
        raise unknown_name(f"layer list of {network.backbone}", network.layers, backbone.layers)
    return backbone, backbone.layers[network.layers]


def _modules(layer: Layer, channels: int, backbone: Backbone) -> list[nn.Module]:
    """Return a layer as entries of one `Sequential`, so that published keys fit."""
    match layer:
        case Conv():
            convolution = nn.Conv2d(channels, layer.channels, 3, stride=layer.stride, padding=1)
            return _with_norm(convolution, backbone)
        case MaxPool():
            return [nn.MaxPool2d(layer.size)]
        case ChannelDropout():
            return [nn.Dropout2d(layer.probability)]
        case InvertedResidual():
            return [_Residual(layer, channels, backbone)]


class _Residual(nn.Module):
    """An inverted residual, under the names of the published state dicts."""

    def __init__(self, layer: InvertedResidual, channels: int, backbone: Backbone) -> None:
        super().__init__()
        padding, inner = backbone.pointwise_padding, layer.expansion * channels
        widen = nn.Conv2d(channels, inner, kernel_size=1, padding=padding, bias=False)
        depthwise = nn.Conv2d(inner, inner, kernel_size=3, padding=1, groups=inner, bias=False)
        narrow = nn.Conv2d(inner, layer.channels, kernel_size=1, padding=padding, bias=False)
        self.inverted_residual = nn.Sequential(
            _named("conv_1x1_block", _with_norm(widen, backbone)),
            _named("depthwise_convolution_block", _with_norm(depthwise, backbone)),
            _named("conv_1x1_block", _with_norm(narrow, backbone)),
        )
        self.adds = padding == 0 and channels == layer.channels

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.inverted_residual(inputs)
        return inputs + outputs if self.adds else outputs


def _with_norm(convolution: nn.Conv2d, backbone: Backbone) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels), backbone.activation(True)]


def _named(name: str, modules: list[nn.Module]) -> nn.Sequential:
    return nn.Sequential(OrderedDict({name: nn.Sequential(*modules)}))


class _FlatHead(nn.Sequential):
    def forward(self, maps: Tensor) -> Tensor:
        logits: Tensor = self[0](maps.flatten(1))
        return logits


class _AverageHead(nn.Sequential):
    def forward(self, maps: Tensor) -> Tensor:
        logits: Tensor = self[0](maps)
        return logits.mean((2, 3))


def _head(shape: Shape, outputs: int, backbone: Backbone) -> nn.Sequential:
    channels, height, width = shape
    if backbone.averages:
        return _AverageHead(nn.Conv2d(channels, outputs, kernel_size=1))
    return _FlatHead(nn.Linear(channels * height * width, outputs))


def _shape_after(layer: Layer, shape: Shape, backbone: Backbone) -> Shape:
    channels, height, width = shape
    match layer:
        case Conv():
            # Kernel 3 and padding 1: a stride of s keeps every s-th pixel, the first included.
            return layer.channels, -(-height // layer.stride), -(-width // layer.stride)
        case MaxPool():
            if min(height, width) < layer.size:
                raise RequestError(
                    f"feature maps of {height}×{width} are too small for max-pooling by "
                    f"{layer.size}: take larger images or another backbone"
                )
            return channels, height // layer.size, width // layer.size
        case ChannelDropout():
            return shape
        case InvertedResidual():
            # Two 1×1 convolutions, each padded on both sides.
            growth = 4 * backbone.pointwise_padding
            return layer.channels, height + growth, width + growth
