"""The families by name: what is built, what is refused, what is frozen, where a ViT looks."""

import copy

import pytest
import timm
import torch
import torchvision
from torch import nn

import monolithic_architectures
from harness.errors import RequestError
from harness.freezing import layer_groups
from monolithic_architectures import (
    create_efficientnet,
    create_model,
    create_resnet,
    create_vit,
    families,
    freeze_backbone,
)
from monolithic_architectures.families import EFFICIENTNETS, RESNETS, VITS, native_size

# With 1000 classes and RGB images, as torchvision and timm document them.
PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "vit_tiny": 5_717_416,
    "vit_small": 22_050_664,
    "vit_base": 86_567_656,
    "vit_large": 304_326_632,
    "efficientnet_b0": 5_288_548,
    "efficientnet_b1": 7_794_184,
    "efficientnet_b2": 9_109_994,
    "efficientnet_b3": 12_233_232,
    "efficientnet_b4": 19_341_616,
    "efficientnet_b5": 30_389_784,
    "efficientnet_b6": 43_040_704,
    "efficientnet_b7": 66_347_960,
}


def build(name, **options):
    return create_model({"architecture": name, **options})


def build_meta(name, **options):
    with torch.device("meta"):
        return build(name, **options)


def count(parameters):
    return sum(parameter.numel() for parameter in parameters)


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_name_builds_the_network_that_it_says(name):
    assert count(build_meta(name).parameters()) == PARAMETERS[name]


def test_the_names_are_complete():
    assert set(PARAMETERS) == {*RESNETS, *VITS, *EFFICIENTNETS}


def test_native_sizes():
    sizes = [native_size(name) for name in EFFICIENTNETS]
    assert sizes == [224, 240, 288, 300, 380, 456, 528, 600]
    assert {native_size(name) for name in (*RESNETS, *VITS)} == {224}


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny", "efficientnet_b0"])
@pytest.mark.parametrize("channels", [1, 3])
def test_classes_and_channels(name, channels):
    network = build_meta(name, num_classes=7, in_channels=channels).eval()
    assert network(torch.empty(2, channels, 224, 224, device="meta")).shape == (2, 7)


@pytest.mark.parametrize(
    ("create", "name", "other"),
    [
        (create_resnet, "resnet18", "vit_tiny"),
        (create_vit, "vit_tiny", "efficientnet_b0"),
        (create_efficientnet, "efficientnet_b0", "resnet50"),
    ],
)
def test_a_family_builds_its_own_alone(create, name, other):
    with torch.device("meta"):
        assert count(create({"architecture": name}).parameters()) == PARAMETERS[name]
    with pytest.raises(RequestError, match=f"unknown architecture '{other}'"):
        create({"architecture": other})


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"architecture": "resnet5"}, ["unknown architecture 'resnet5'", "did you mean resnet50"]),
        ({"architecture": "xyz"}, ["unknown architecture 'xyz'", "known: ", "vit_tiny"]),
        ({}, ["option architecture is missing: resnet18"]),
        ({"architecture": 18}, ["option architecture", "string", "found 18"]),
        ({"architecture": "resnet18", "num_clases": 3}, ["num_clases", "mean num_classes"]),
        ({"architecture": "resnet18", 3: 3}, ["unknown option '3'"]),
        ({"architecture": "resnet18", "num_classes": "ten"}, ["num_classes", "found 'ten'"]),
        ({"architecture": "resnet18", "num_classes": 0}, ["num_classes", "found 0"]),
        ({"architecture": "resnet18", "pretrained": "yes"}, ["pretrained", "found 'yes'"]),
        ({"architecture": "resnet18", "in_channels": 2}, ["in_channels", "1 or 3", "found 2"]),
        ({"architecture": "resnet18", "dropout": 1.0}, ["dropout", "less than 1", "found 1.0"]),
        ({"architecture": "resnet18", "dropout": float("nan")}, ["dropout", "nan"]),
        (
            {"architecture": "resnet18", "attention_dropout": 0.1},
            ["attention_dropout: resnet18 has no attention", "vit_tiny"],
        ),
        ({"architecture": "resnet18", "freeze_layers": -1}, ["freeze_layers", "found -1"]),
        (
            {"architecture": "resnet18", "freeze_layers": 6},
            ["freeze_layers is 6: resnet18 has 5 layer groups to freeze (conv1 to layer4)"],
        ),
        ([("architecture", "resnet18")], ["a mapping of options wanted"]),
    ],
)
def test_a_wrong_option_is_one_line(config, words):
    with pytest.raises(RequestError) as caught:
        create_model(config)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


def test_weights_that_cannot_be_had_are_one_line(monkeypatch):
    def fetch(*_, **__):
        raise FileNotFoundError("no network\nat all")

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", fetch)
    with pytest.raises(RequestError) as caught:
        build("resnet18", pretrained=True)
    assert str(caught.value) == "pre-trained weights of resnet18 cannot be had (no network)"


@pytest.fixture(scope="module")
def donor():
    torch.manual_seed(3)
    return torchvision.models.resnet18().state_dict()


@pytest.fixture
def fetched(donor, monkeypatch):
    """What a download would bring, in its place."""
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", lambda *_, **__: donor)
    return donor


def changed(network, donor):
    state = network.state_dict()
    assert set(state) == set(donor)
    return {key for key in donor if not torch.equal(state[key], donor[key])}


def test_pretrained_weights_are_all_kept_for_their_own_classes(fetched):
    assert changed(build("resnet18", pretrained=True, dropout=0.5), fetched) == set()


def test_a_pretrained_stem_adds_up_its_colours_for_grey_images(fetched):
    grey = build("resnet18", pretrained=True, num_classes=5, in_channels=1)
    rgb = build("resnet18", pretrained=True, num_classes=5)
    assert changed(rgb, fetched) == {"fc.weight", "fc.bias"}
    assert changed(grey, fetched) == {"conv1.weight", "fc.weight", "fc.bias"}
    picture = torch.rand(2, 1, 32, 32)
    assert torch.allclose(grey.conv1(picture), rgb.conv1(picture.expand(-1, 3, -1, -1)), atol=1e-5)


def test_a_pretrained_vit_on_grey_images(monkeypatch):
    torch.manual_seed(4)
    donor = timm.create_model("vit_tiny_patch16_224").state_dict()
    asked = []

    def fetch(location, **_):
        asked.append(location)
        return dict(donor)

    monkeypatch.setattr(timm.models._builder, "load_state_dict_from_hf", fetch)
    kept = build("vit_tiny", pretrained=True)
    grey = build("vit_tiny", pretrained=True, num_classes=5, in_channels=1)
    assert asked == ["timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"] * 2
    assert changed(kept, donor) == set()
    stem = "patch_embed.proj.weight"
    assert changed(grey, donor) == {stem, "head.weight", "head.bias"}
    assert torch.allclose(grey.state_dict()[stem], donor[stem].sum(1, keepdim=True), atol=1e-6)


def test_a_random_grey_stem_has_the_spread_of_the_architecture():
    torch.manual_seed(0)
    wide, grey = (build("efficientnet_b0", in_channels=n).features[0][0].weight for n in (3, 1))
    # Drawn by the outputs, 32·3·3: a standard deviation of √(2/288).
    assert wide.std().item() == pytest.approx((2 / 288) ** 0.5, rel=0.1)
    assert grey.std().item() == pytest.approx((2 / 288) ** 0.5, rel=0.15)


def probabilities(network):
    return sorted({m.p for m in network.modules() if isinstance(m, nn.Dropout)})


def test_dropout():
    assert probabilities(build_meta("resnet18")) == []
    assert probabilities(build_meta("resnet18", dropout=0.25)) == [0.25]
    assert probabilities(build_meta("efficientnet_b0")) == [0.2]
    assert probabilities(build_meta("efficientnet_b7")) == [0.5]
    assert probabilities(build_meta("efficientnet_b0", dropout=0.0)) == [0.0]
    vit = build_meta("vit_tiny", dropout=0.25, attention_dropout=0.125)
    assert [vit.pos_drop.p, vit.head_drop.p] == [0.25, 0.0]
    block = vit.blocks[0]
    assert [block.attn.proj_drop.p, block.mlp.drop1.p, block.mlp.drop2.p] == [0.25] * 3
    assert block.attn.attn_drop.p == 0.125


def test_dropout_of_a_resnet_is_before_the_head():
    network, seen = build("resnet18", dropout=0.9, num_classes=3).train(), []
    network.fc.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    torch.manual_seed(0)
    with torch.no_grad():
        network(torch.rand(8, 3, 32, 32))
        network.eval()(torch.rand(8, 3, 32, 32))
    dropped = [(features == 0).float().mean().item() for features in seen]
    assert dropped[0] > 0.85
    assert dropped[1] < 0.5


def group_names(name):
    return [group.name for group in layer_groups(build_meta(name))]


def test_the_layer_groups_of_the_families():
    for name in RESNETS:
        assert group_names(name) == ["conv1", "layer1", "layer2", "layer3", "layer4"]
    for name in EFFICIENTNETS:
        assert group_names(name) == [f"features.{index}" for index in range(9)]
    for name, blocks in zip(VITS, (12, 12, 12, 24), strict=True):
        expected = ["patch_embed.proj", *(f"blocks.{index}" for index in range(blocks))]
        assert group_names(name) == expected


def trainable(network):
    return count(p for p in network.parameters() if p.requires_grad)


def test_freezing_by_option_and_of_the_backbone():
    # Embeddings of a ViT-Tiny: class token, 197 positions, 768 weights and a bias a channel.
    frozen = 192 * (1 + 197 + 768 + 1)
    assert trainable(build_meta("vit_tiny", freeze_layers=1)) == PARAMETERS["vit_tiny"] - frozen
    stem = 64 * 3 * 7 * 7 + 2 * 64
    assert trainable(build_meta("resnet18", freeze_layers=1)) == PARAMETERS["resnet18"] - stem
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


def test_the_package_has_what_it_names():
    for name in monolithic_architectures.__all__:
        assert callable(getattr(monolithic_architectures, name))
    assert families.create_model is monolithic_architectures.create_model
    with pytest.raises(AttributeError, match="no attribute 'create_resnt'"):
        _ = monolithic_architectures.create_resnt
