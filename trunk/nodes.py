"""Node networks, built from the layer lists of `trunk/backbones.py`.

The published state dicts load into these networks key by key.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from harness.errors import RequestError, unknown_name
from trunk.backbones import (
    BACKBONES,
    Backbone,
    ChannelDropout,
    Conv,
    InvertedResidual,
    Layer,
    MaxPool,
    Whitening,
)
from trunk.tree import NodeNetwork

Shape = tuple[int, int, int]
"""Channels, height and width of an image or a feature map."""


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


class Logits(nn.Module):
    """A node's network that returns the logits alone, as training needs it."""

    def __init__(self, node: NodeModule) -> None:
        super().__init__()
        self.node = node

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits N×children of images or maps."""
        logits: Tensor = self.node(inputs)[1]
        return logits


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
    """Return the shape of a node's feature map; the errors are those of `build_node`."""
    backbone, layers = _description(network)
    shape = network.input_shape
    for layer in layers:
        shape = _shape_after(layer, shape, backbone)
    return shape


def starts_with_whitening(network: NodeNetwork) -> bool:
    """Return whether a node begins with `Whitening`; the errors are those of `build_node`."""
    _, layers = _description(network)
    return isinstance(layers[0], Whitening)


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
            return [_InvertedResidual(layer, channels, backbone)]
        case Whitening():
            return _with_norm(_whitening(channels), backbone)


class _InvertedResidual(nn.Module):
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


def _whitening(channels: int) -> nn.Conv2d:
    """Return the fixed convolution of `Whitening`, whose filters have length 1."""
    haar = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    patterns = torch.einsum("ai,bj->abij", haar, haar).flatten(0, 1) / 2
    colours = torch.eye(channels)
    if channels == 3:
        colours = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]])
    filters = torch.einsum("pij,kc->kpcij", patterns, nn.functional.normalize(colours))
    filters = filters.flatten(0, 1)
    convolution = nn.Conv2d(channels, 8 * channels, kernel_size=2, bias=False)
    convolution.weight = nn.Parameter(torch.cat([filters, -filters]), requires_grad=False)
    return convolution


def _with_norm(convolution: nn.Conv2d, backbone: Backbone) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels), backbone.activation(True)]


def _named(name: str, modules: list[nn.Module]) -> nn.Sequential:
    return nn.Sequential(OrderedDict({name: nn.Sequential(*modules)}))


class _FlatHead(nn.Sequential):
    def forward(self, maps: Tensor) -> Tensor:
        # Quantization knows the function, but not the method.
        logits: Tensor = self[0](torch.flatten(maps, 1))
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
        case Whitening():
            return 8 * channels, height - 1, width - 1
        case InvertedResidual():
            # Two 1×1 convolutions, each padded on both sides.
            growth = 4 * backbone.pointwise_padding
            return layer.channels, height + growth, width + growth
