"""DINOv2 ViT-B/14 with registers (Oquab et al., 2023, arXiv:2304.07193)."""

from __future__ import annotations

from functools import partial

import timm
from torch import nn

from harness.errors import RequestError
from harness.spec import ModelSpec, StateDict


def build(num_classes: int, in_channels: int, pretrained: bool) -> nn.Module:
    """Return timm's network without a head, as published: its 768 features are the logits."""
    if num_classes > 768:
        raise RequestError(f"DINOv2 tells at most 768 classes apart, found {num_classes}")
    network: nn.Module = timm.create_model(
        "vit_base_patch14_reg4_dinov2.lvd142m",
        pretrained=pretrained,
        num_classes=0,
        dynamic_img_size=True,  # interpolates the 518-pixel position table at every call
        init_values=1.0,  # the layer scale of the published network; timm starts from 1e-5
        norm_layer=partial(nn.LayerNorm, eps=1e-6),  # thop does not count timm's own class
    )
    if in_channels != 3:
        network.set_submodule("patch_embed.proj", nn.Conv2d(in_channels, 768, 14, stride=14))
    return network


def adapt(state: StateDict) -> StateDict:
    """Fold the class token's position into the token; drop the mask, which nothing reads."""
    kept = {key.replace("register_tokens", "reg_token"): state[key] for key in state}
    position, _ = kept.pop("pos_embed"), kept.pop("mask_token")
    return kept | {"cls_token": state["cls_token"] + position[:, :1], "pos_embed": position[:, 1:]}


SPEC = ModelSpec(
    label="DINOv2-B/14", build=build, image_size=224, pretrained="LVD-142M", adapt_published=adapt
)
