"""ResNets, vision transformers and EfficientNets by name, from a mapping of options."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

import timm
import torch
import torchvision
from annotated_types import Ge, Lt
from pydantic import AllowInfNan, Strict, TypeAdapter, ValidationError
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from harness.errors import RequestError, unknown_name
from harness.networks.attention import attention_maps
from harness.networks.freezing import freeze_layers
from harness.networks.hub import from_hub

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
VITS = ("vit_tiny", "vit_small", "vit_base", "vit_large")
EFFICIENTNETS = tuple(f"efficientnet_b{number}" for number in range(8))

_IMAGENET_CLASSES = 1000
_WEIGHTS = "IMAGENET1K_V1"
_VIT_WEIGHTS = "augreg_in21k_ft_in1k"
_VIT_SIZE = 224

Probability = Annotated[float, Strict(), AllowInfNan(False), Ge(0), Lt(1)]


@dataclass(frozen=True, kw_only=True)
class ArchitectureConfig:
    """The options of a network.

    Attributes:
        pretrained: Start from ImageNet weights, fetched by torchvision or timm. Their head is kept
            for 1000 classes and replaced by a random one for another number.
        freeze_layers: The number of layer groups, counted from the input, that training leaves
            unchanged: the stem, then each stage; of a ViT the embeddings, then each block.
        dropout: A probability. In a ViT, dropout follows the embeddings and every linear layer but
            the projections to queries, keys and values; elsewhere it precedes the head. None: the
            architecture's own, which is 0.2 to 0.5 for EfficientNets and 0 for the others.
        attention_dropout: A probability, for the attention weights of a ViT only. None: 0.
        in_channels: 1 (grey) or 3 (RGB). For grey images each filter of a pre-trained stem is the
            sum of its three colours, which has the same effect as a grey picture in RGB.
    """

    architecture: str
    num_classes: Annotated[int, Strict(), Ge(1)] = _IMAGENET_CLASSES
    pretrained: Annotated[bool, Strict()] = False
    freeze_layers: Annotated[int, Strict(), Ge(0)] = 0
    dropout: Probability | None = None
    attention_dropout: Probability | None = None
    in_channels: Literal[1, 3] = 3


class ViT(VisionTransformer):  # type: ignore[misc]  # timm has no types
    """timm's vision transformer, with its attention maps."""

    def get_attention_maps(self, images: Tensor, layer_idx: int = -1) -> Tensor:
        """Return the attention weights of a block in a forward pass in evaluation mode.

        Images are N×C×H×W, normalised as in training; a negative index counts from the last block.
        The weights are N×heads×tokens×tokens, the class token first; each row adds up to 1.

        Raises:
            RequestError: There is no such block.
        """
        return attention_maps(self, images, layer_idx)


def create_model(config: Mapping[str, Any]) -> nn.Module:
    """Build a network of any of the families from the options of `ArchitectureConfig`.

    Raises:
        RequestError: An architecture or option is unknown, a value does not fit, there are fewer
            layers than are to be frozen, or weights cannot be fetched.
    """
    return _create(config, (*RESNETS, *VITS, *EFFICIENTNETS))


def create_resnet(config: Mapping[str, Any]) -> nn.Module:
    """Build a ResNet (He et al., 2015, arXiv:1512.03385), as `create_model` does."""
    return _create(config, RESNETS)


def create_efficientnet(config: Mapping[str, Any]) -> nn.Module:
    """Build an EfficientNet (Tan and Le, 2019, arXiv:1905.11946), as `create_model` does."""
    return _create(config, EFFICIENTNETS)


def create_vit(config: Mapping[str, Any]) -> ViT:
    """Build a ViT with patches of 16 pixels (Dosovitskiy et al., 2020, arXiv:2010.11929).

    It takes images of 224 pixels, and of another multiple of 16 after timm's
    `network.set_input_size(img_size=...)`. It raises the errors of `create_model`.
    """
    return cast("ViT", _create(config, VITS))


def native_size(architecture: str) -> int:
    """Return the side of the images that ImageNet weights were evaluated with, in pixels."""
    if architecture in VITS:
        return _VIT_SIZE
    weights = torchvision.models.get_model_weights(architecture)[_WEIGHTS]
    return int(weights.transforms().crop_size[0])


def _create(config: Mapping[str, Any], architectures: tuple[str, ...]) -> nn.Module:
    checked = _check(config, architectures)
    name, build = checked.architecture, _build_vit
    if name not in VITS:
        build = _build_resnet if name in RESNETS else _build_efficientnet
    if checked.pretrained:
        with from_hub(f"pre-trained weights of {name}"):
            network = build(checked)
    else:
        network = build(checked)
    freeze_layers(network, checked.freeze_layers, name)
    return network


def _check(config: Mapping[str, Any], architectures: tuple[str, ...]) -> ArchitectureConfig:
    """Return the validated options."""
    if not isinstance(config, Mapping):
        raise RequestError(f"a mapping of options wanted, found {config!r}")
    known = [field.name for field in dataclasses.fields(ArchitectureConfig)]
    for key in config:
        if key not in known:
            raise unknown_name("option", str(key), known)
    if "architecture" not in config:
        raise RequestError(f"option architecture is missing: {', '.join(architectures)}")
    try:
        checked = TypeAdapter(ArchitectureConfig).validate_python(dict(config))
    except ValidationError as error:
        wrong = error.errors()[0]
        name = wrong["loc"][0]
        raise RequestError(f"option {name}: {wrong['msg']}, found {wrong['input']!r}") from None
    if checked.architecture not in architectures:
        raise unknown_name("architecture", checked.architecture, architectures)
    if checked.attention_dropout is not None and checked.architecture not in VITS:
        raise RequestError(
            f"option attention_dropout: {checked.architecture} has no attention; "
            f"{', '.join(VITS)} have"
        )
    return checked


def _build_resnet(config: ArchitectureConfig) -> nn.Module:
    network = _from_torchvision(config)
    if config.dropout:
        # After the pooling, so that the keys of saved weights stay the same.
        pooling = nn.Sequential(network.get_submodule("avgpool"), nn.Dropout(config.dropout))
        network.set_submodule("avgpool", pooling)
    return _with_ends(network, config, stem="conv1", head="fc")


def _build_efficientnet(config: ArchitectureConfig) -> nn.Module:
    dropout = {} if config.dropout is None else {"dropout": config.dropout}
    network = _from_torchvision(config, **dropout)
    return _with_ends(network, config, stem="features.0.0", head="classifier.1")


def _build_vit(config: ArchitectureConfig) -> nn.Module:
    network: ViT = timm.create_model(
        f"{config.architecture}_patch16_{_VIT_SIZE}.{_VIT_WEIGHTS}",
        pretrained=config.pretrained,
        num_classes=config.num_classes,
        in_chans=config.in_channels,  # timm adds up the colours of a pre-trained stem
        pos_drop_rate=config.dropout or 0.0,
        proj_drop_rate=config.dropout or 0.0,
        attn_drop_rate=config.attention_dropout or 0.0,
    )
    # timm builds its own class; ours adds a method to it and no state.
    network.__class__ = ViT
    return network


def _from_torchvision(config: ArchitectureConfig, **options: float) -> nn.Module:
    weights = torchvision.models.get_model_weights(config.architecture)[_WEIGHTS]
    network: nn.Module = torchvision.models.get_model(
        config.architecture, weights=weights if config.pretrained else None, **options
    )
    return network


def _with_ends(
    network: nn.Module, config: ArchitectureConfig, *, stem: str, head: str
) -> nn.Module:
    """Give a network a stem for the channels and a head for the classes."""
    if config.in_channels != 3:
        before = cast("nn.Conv2d", network.get_submodule(stem))
        network.set_submodule(stem, _grey(before, add_up=config.pretrained))
    if config.num_classes != _IMAGENET_CLASSES:
        inputs = cast("nn.Linear", network.get_submodule(head)).in_features
        network.set_submodule(head, nn.Linear(inputs, config.num_classes))
    return network


def _grey(rgb: nn.Conv2d, *, add_up: bool) -> nn.Conv2d:
    """Return a convolution for one channel, with the sum of each filter's colours or the first."""
    grey = nn.Conv2d(
        *(1, rgb.out_channels, cast("tuple[int, int]", rgb.kernel_size)),
        stride=cast("tuple[int, int]", rgb.stride),
        padding=cast("tuple[int, int]", rgb.padding),
        bias=False,
    )
    with torch.no_grad():
        # The spread of a random start depends on the outputs alone, so one colour has it too.
        grey.weight.copy_(rgb.weight.sum(1, keepdim=True) if add_up else rgb.weight[:, :1])
    return grey
