"""Inside the families: layer groups, what is frozen, where a ViT looks."""

import copy

import pytest
import timm
import torch

from harness.errors import RequestError
from harness.networks.freezing import layer_groups
from monolithic_architectures import create_vit, freeze_backbone
from monolithic_architectures.families import EFFICIENTNETS, RESNETS, VITS

from .conftest import build, build_meta, changed, count


def group_names(name):
    return [group.name for group in layer_groups(build_meta(name))]


def test_the_layer_groups_of_the_families():
    for name in (RESNETS[0], RESNETS[-1]):
        assert group_names(name) == ["conv1", "layer1", "layer2", "layer3", "layer4"]
    for name in (EFFICIENTNETS[0], EFFICIENTNETS[-1]):
        assert group_names(name) == [f"features.{index}" for index in range(9)]
    for name, blocks in ((VITS[0], 12), (VITS[-1], 24)):
        expected = ["patch_embed.proj", *(f"blocks.{index}" for index in range(blocks))]
        assert group_names(name) == expected


def trainable(network):
    return count(p for p in network.parameters() if p.requires_grad)


def test_freezing_by_option_and_of_the_backbone():
    # Embeddings of a ViT-Tiny: class token, 197 positions, 768 weights and a bias a channel.
    stems = {"vit_tiny": 192 * (1 + 197 + 768 + 1), "resnet18": 64 * 3 * 7 * 7 + 2 * 64}
    for name, stem in stems.items():
        whole = trainable(build_meta(name))
        assert trainable(build_meta(name, freeze_layers=1)) == whole - stem
    for name, inputs in (("resnet18", 512), ("vit_tiny", 192), ("efficientnet_b0", 1280)):
        network = build_meta(name, num_classes=7)
        freeze_backbone(network)
        assert trainable(network) == 7 * (inputs + 1)
        every = len(layer_groups(network))
        assert trainable(build_meta(name, num_classes=7, freeze_layers=every)) == 7 * (inputs + 1)


def test_frozen_statistics_do_not_move_in_training():
    torch.manual_seed(0)
    network = build("resnet18", num_classes=3, freeze_layers=3).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.no_grad():
        network(torch.rand(4, 3, 32, 32))
    moved = {key.split(".")[0] for key in changed(network, before)}
    assert moved == {"layer3", "layer4"}
    assert not network.bn1.training
    assert network.layer3[0].bn1.training


@pytest.fixture(scope="module")
def small_vit():
    """A ViT-Tiny for images of 32 pixels, with attention that is not even."""
    torch.manual_seed(0)
    network = create_vit({"architecture": "vit_tiny", "num_classes": 5, "attention_dropout": 0.5})
    network.set_input_size(img_size=(32, 32))
    with torch.no_grad():
        for block in network.blocks:
            block.attn.qkv.weight.mul_(8)
    return network


def test_a_vit_shows_its_attention(small_vit):
    images = torch.rand(2, 3, 32, 32)
    small_vit.eval()
    with torch.no_grad():
        logits = small_vit(images)
    maps = small_vit.get_attention_maps(images)
    assert maps.shape == (2, 3, 5, 5)
    assert torch.allclose(maps.sum(-1), torch.ones(2, 3, 5), atol=1e-6)
    assert torch.equal(maps, small_vit.get_attention_maps(images, layer_idx=11))
    assert not torch.equal(maps, small_vit.get_attention_maps(images, layer_idx=0))
    with torch.no_grad():
        assert torch.equal(small_vit(images), logits)
    with pytest.raises(RequestError, match="layer_idx is 12: the network has 12 attention layers"):
        small_vit.get_attention_maps(images, 12)


def test_logits_follow_from_the_maps(small_vit):
    """The last block, computed anew with the maps in its attention, gives the network's logits."""
    images, seen = torch.rand(2, 3, 32, 32), {}
    small_vit.eval()
    block = small_vit.blocks[-1]
    handle = block.register_forward_hook(lambda _, inputs, __: seen.update(tokens=inputs[0]))
    with torch.no_grad():
        logits = small_vit(images)
    handle.remove()
    maps, tokens = small_vit.get_attention_maps(images), seen["tokens"]
    with torch.no_grad():
        qkv = block.attn.qkv(block.norm1(tokens)).unflatten(-1, (3, 3, 64))
        mixed = torch.einsum("nhij,njhd->nihd", maps, qkv[:, :, 2]).flatten(2)
        tokens = tokens + block.attn.proj(mixed)
        tokens = tokens + block.mlp(block.norm2(tokens))
        again = small_vit.forward_head(small_vit.norm(tokens))
    assert torch.allclose(again, logits, atol=1e-5)


def test_a_vit_is_copied_with_its_method(small_vit):
    images = torch.rand(1, 3, 32, 32)
    maps = copy.deepcopy(small_vit).get_attention_maps(images)
    assert torch.equal(maps, small_vit.get_attention_maps(images))
    assert isinstance(small_vit, timm.models.vision_transformer.VisionTransformer)
