"""The families by name: what is built, with which weights, and what is refused."""

import pytest
import timm
import torch
import torchvision
from torch import nn

import monolithic_architectures
from harness.errors import RequestError
from monolithic_architectures import (
    create_efficientnet,
    create_model,
    create_resnet,
    create_vit,
    families,
)
from monolithic_architectures.families import EFFICIENTNETS, RESNETS, VITS, native_size

from .conftest import build, build_meta, changed, count

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


def test_the_package_has_what_it_names():
    for name in monolithic_architectures.__all__:
        assert callable(getattr(monolithic_architectures, name))
    assert families.create_model is monolithic_architectures.create_model
    with pytest.raises(AttributeError, match="no attribute 'create_resnt'"):
        _ = monolithic_architectures.create_resnt
