"""DeiT-Tiny (Touvron et al., 2020, arXiv:2012.12877)."""

from __future__ import annotations

from functools import partial

import timm
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from harness.errors import RequestError
from harness.spec import ModelSpec


def build(num_classes: int, in_channels: int, pretrained: bool) -> nn.Module:
    """Return timm's DeiT-Tiny with a new head; timm adapts the stem to the channels."""
    network: nn.Module = timm.create_model(
        "deit_tiny_patch16_224.fb_in1k",
        pretrained=pretrained,
        in_chans=in_channels,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),  # thop does not count timm's own class
    )
    network.set_submodule("head", nn.Linear(192, num_classes))
    return network


def resize(network: VisionTransformer, image_size: int) -> VisionTransformer:
    """Interpolate the position table to the patches of images of another size."""
    if image_size % 16:
        raise RequestError(f"DeiT-Tiny: image_size {image_size}: a multiple of 16 wanted")
    network.set_input_size(img_size=(image_size, image_size))
    return network


SPEC = ModelSpec(
    label="DeiT-Tiny", build=build, image_size=224, resize=resize, pretrained="fb_in1k"
)
