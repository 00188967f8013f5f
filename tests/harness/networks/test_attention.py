"""Attention maps: against a hand computation, and against what the network makes of them."""

import math

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn.functional import linear
from transformers import ViTConfig, ViTForImageClassification

from harness.errors import RequestError
from harness.networks.attention import attention_layers, attention_maps, class_token_attention

BLOCKS = 3


def timm_vit():
    return timm.models.vision_transformer.VisionTransformer(
        img_size=16, patch_size=8, embed_dim=12, depth=BLOCKS, num_heads=3, num_classes=5
    )


def torchvision_vit():
    return torchvision.models.VisionTransformer(16, 8, BLOCKS, 3, 12, 24, num_classes=5)


def transformers_vit():
    sizes = {"hidden_size": 12, "num_hidden_layers": BLOCKS, "num_attention_heads": 3}
    config = ViTConfig(**sizes, intermediate_size=24, image_size=16, patch_size=8)
    return ViTForImageClassification(config)


class HubAttention(nn.Module):
    """Laid out as in the published files of DINOv2."""

    def __init__(self, width, heads):
        super().__init__()
        self.num_heads, self.scale = heads, (width // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.attn_drop = nn.Dropout(0.5)

    def forward(self, tokens):
        count, length, width = tokens.shape
        parts = self.qkv(tokens).reshape(count, length, 3, self.num_heads, -1)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        weights = self.attn_drop((self.scale * q @ k.transpose(-2, -1)).softmax(-1))
        return self.proj((weights @ v).transpose(1, 2).reshape(count, length, width))


class HubViT(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 8, stride=8)
        self.token = nn.Parameter(torch.zeros(1, 1, 12))
        self.blocks = nn.Sequential(*(HubAttention(12, 3) for _ in range(BLOCKS)))

    def forward(self, images):
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        return self.blocks(torch.cat([self.token.expand(len(images), -1, -1), tokens], 1))[:, 0]


KINDS = (timm_vit, torchvision_vit, transformers_vit, HubViT)


def make(kind, seed=0):
    """Return a network whose attention is far from even, with dropout where it takes some."""
    torch.manual_seed(seed)
    network = kind()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.7 * torch.randn_like(parameter))
    return network


def images(count=2):
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def output_of(network, inputs):
    result = network(inputs)
    return getattr(result, "logits", result)


def projections(layer):
    """Return weight and bias of queries, keys, values and of the output, whatever the layer."""
    if isinstance(layer, nn.MultiheadAttention):
        return layer.in_proj_weight, layer.in_proj_bias, layer.out_proj
    if hasattr(layer, "qkv"):
        return layer.qkv.weight, layer.qkv.bias, layer.proj
    parts = (layer.q_proj, layer.k_proj, layer.v_proj)
    weight, bias = (torch.cat([getattr(p, name) for p in parts]) for name in ("weight", "bias"))
    return weight, bias, layer.o_proj


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("index", range(-BLOCKS, BLOCKS))
def test_maps_are_the_weights_that_the_layer_used(kind, index):
    """Computed from the layer's own input; and times the values they are its own output."""
    network, seen = make(kind).eval(), {}
    layer = attention_layers(network)[index]

    def note(_, inputs, named, result):
        seen["in"] = inputs[0] if inputs else named["hidden_states"]
        seen["out"] = result[0] if isinstance(result, tuple) else result

    handle = layer.register_forward_hook(note, with_kwargs=True)
    with torch.no_grad():
        network(images())
    handle.remove()
    maps = attention_maps(network, images(), index)

    weight, bias, out = projections(layer)
    q, k, v = linear(seen["in"], weight, bias).unflatten(-1, (3, 3, 4)).permute(2, 0, 3, 1, 4)
    by_hand = torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(4), dim=-1)
    assert maps.shape == (2, 3, 5, 5)
    assert torch.allclose(maps, by_hand, atol=1e-6)
    assert torch.allclose(maps.sum(-1), torch.ones(2, 3, 5), atol=1e-6)
    assert maps.std() > 0.05
    result = out((maps @ v).transpose(1, 2).flatten(2))
    assert torch.allclose(result, seen["out"], atol=1e-5)


def test_two_tokens_by_hand():
    """The first token scores ln 3 with itself and 0 with the other: 3 to 1; the other 1 to 1."""
    layer = nn.MultiheadAttention(2, 1, batch_first=True, bias=False)
    with torch.no_grad():
        layer.in_proj_weight.copy_(torch.cat([torch.eye(2)] * 3))
    # q·k/√2 of the first token (a, 0) with itself is a²/√2 = ln 3.
    a = math.sqrt(math.sqrt(2) * math.log(3))
    tokens = torch.tensor([[[a, 0.0], [0.0, 0.0]]])

    class Alone(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, inputs):
            return self.layer(inputs, inputs, inputs, need_weights=False)[0]

    expected = torch.tensor([[[[0.75, 0.25], [0.5, 0.5]]]])
    assert torch.allclose(attention_maps(Alone(), tokens), expected, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_network_comes_back_as_it_was(kind):
    network = make(kind).train()
    frozen = next(iter(network.parameters())).requires_grad_(False)
    fused = [getattr(layer, "fused_attn", None) for layer in attention_layers(network)]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules()]
    settings = getattr(getattr(network, "config", None), "_attn_implementation", None)
    state = torch.get_rng_state()
    maps = attention_maps(network, images().requires_grad_())
    assert not maps.requires_grad
    assert not maps.is_inference()
    assert torch.is_grad_enabled()
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in network.modules())
    assert [getattr(layer, "fused_attn", None) for layer in attention_layers(network)] == fused
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules()] == hooks
    assert getattr(getattr(network, "config", None), "_attn_implementation", None) == settings
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not frozen.requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_maps_and_gradients_do_not_meet(kind):
    network = make(kind).eval()
    output_of(network, images()).sum().backward()
    before = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    attention_maps(network, images())
    after = [p.grad for p in network.parameters() if p.grad is not None]
    assert before
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("index", [BLOCKS, -BLOCKS - 1])
def test_a_layer_out_of_range_is_one_line(index):
    with pytest.raises(RequestError) as caught:
        attention_maps(make(timm_vit), images(), index)
    assert str(caught.value) == (
        f"layer_idx is {index}: the network has 3 attention layers, 0 to 2 or -1 to -3"
    )


def test_what_breaks_in_the_pass_leaves_nothing_behind():
    network = make(timm_vit).train()
    with pytest.raises(AssertionError):
        attention_maps(network, torch.zeros(1, 3, 17, 17))
    assert network.training
    assert all(layer.fused_attn for layer in attention_layers(network))
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_network_without_readable_attention_is_refused():
    with pytest.raises(RequestError, match="ResNet has no attention layer"):
        attention_maps(torchvision.models.resnet18(), images())


def test_a_layer_that_is_not_called_is_refused():
    network = make(timm_vit)
    network.blocks[2].attn.forward = lambda tokens, **_: tokens
    with pytest.raises(RequestError, match="attention layer -1 leaves its weights inside"):
        attention_maps(network, images())


def test_attention_in_windows_is_refused():
    swin = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=56, embed_dim=12, depths=(1,), num_heads=(3,)
    )
    with pytest.raises(RequestError, match="does not attend over whole images"):
        attention_maps(swin, torch.zeros(1, 3, 56, 56))


@pytest.mark.parametrize("kind", KINDS)
def test_the_class_tokens_row_is_cut_into_rows_of_patches(kind):
    network = make(kind)
    maps = torch.arange(2 * 3 * 5 * 5.0).reshape(2, 3, 5, 5)
    patches = class_token_attention(network, maps, 16)
    assert patches.shape == (2, 3, 2, 2)
    assert patches[0, 0].tolist() == [[1, 2], [3, 4]]
    assert patches[1, 2].tolist() == [[126, 127], [128, 129]]


def test_registers_are_no_patches():
    maps = torch.arange(8.0).expand(1, 1, 8, 8)
    assert class_token_attention(make(timm_vit), maps, 16).tolist() == [[[[4, 5], [6, 7]]]]
    with pytest.raises(RequestError, match="4 tokens are not a class token and 2×2 patches"):
        class_token_attention(make(timm_vit), maps[..., :4, :4], 16)
