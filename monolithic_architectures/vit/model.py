"""ViT-B/16 (Dosovitskiy et al., 2020, arXiv:2010.11929)."""

from __future__ import annotations

from torch import nn
from torchvision.models import VisionTransformer, ViT_B_16_Weights, vit_b_16
from torchvision.models.vision_transformer import interpolate_embeddings

from harness.errors import RequestError
from harness.spec import ModelSpec


def build(num_classes: int, in_channels: int, pretrained: bool) -> nn.Module:
    """Return torchvision's ViT-B/16 with a new head and, unless images are RGB, a new stem."""
    network: nn.Module = vit_b_16(weights=ViT_B_16_Weights.IMAGENET1K_V1 if pretrained else None)
    if in_channels != 3:
        stem = nn.Conv2d(in_channels, 768, kernel_size=16, stride=16)
        nn.init.xavier_uniform_(stem.weight)
        nn.init.zeros_(stem.bias)  # type: ignore[arg-type]  # a convolution made with a bias
        network.set_submodule("conv_proj", stem)
    network.set_submodule("heads.head", nn.Linear(768, num_classes))
    return network


def resize(network: VisionTransformer, image_size: int) -> VisionTransformer:
    """Interpolate the position table to the patches of images of another size."""
    if image_size % 16:
        raise RequestError(f"ViT-B/16: image_size {image_size}: a multiple of 16 wanted")
    key = "encoder.pos_embedding"
    table = {key: network.encoder.pos_embedding.detach()}
    table = interpolate_embeddings(image_size, patch_size=16, model_state=table)
    network.encoder.pos_embedding = nn.Parameter(table[key])
    network.image_size, network.seq_length = image_size, table[key].shape[1]
    return network


SPEC = ModelSpec(
    label="ViT-B/16", build=build, image_size=224, resize=resize, pretrained="IMAGENET1K_V1"
)
