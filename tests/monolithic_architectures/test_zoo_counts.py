"""The eight networks against what is known of them: counts, published files, image sizes.

Networks are built on the meta device wherever only shapes matter: no memory, a fraction of a
second each.
"""

from __future__ import annotations

import copy
import functools

import pytest
import thop
import torch
import torchvision.models._api
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from harness.catalog import load_model
from harness.errors import RequestError

MODELS = ("resnet", "vgg", "mobilenet", "convnext", "vit", "dinov2", "deit", "efficientnet")

# 10^9 of what thop counts at 224×224 with 10 classes. The tables print two digits of these; for
# DeiT-Tiny they print 1.08 where images are grey and 1.06 for CIFAR-10, as if exchanged.
THOP = {
    ("resnet", 3): "4.1317",
    ("resnet", 1): "4.0530",
    ("vgg", 3): "15.4663",
    ("vgg", 1): "15.4085",
    ("mobilenet", 3): "0.3262",
    ("mobilenet", 1): "0.3190",
    ("convnext", 3): "15.3724",
    ("convnext", 1): "15.3596",
    ("vit", 3): "11.2855",
    ("vit", 1): "11.2084",
    ("dinov2", 3): "22.3036",
    ("dinov2", 1): "22.2265",
    ("deit", 3): "1.0784",
    ("deit", 1): "1.0592",
}

# 10^9 multiply-accumulates of a 3×224×224 image with 1000 classes (DINOv2: no head).
GMACS = {
    "resnet": 4.089,
    "vgg": 15.470,
    "mobilenet": 0.301,
    "convnext": 15.355,
    "vit": 17.564,
    "dinov2": 23.539,
    "deit": 1.254,
    "efficientnet": 0.386,
}

# Parameters with 1000 classes and RGB images, as the libraries document them. DINOv2 has no head;
# its 86,583,552 published numbers are 768 of a mask and 768 of a position more than ours.
PARAMETERS = {
    "resnet": 25_557_032,
    "vgg": 138_357_544,
    "mobilenet": 3_504_872,
    "convnext": 88_591_464,
    "vit": 86_567_656,
    "dinov2": 86_583_552 - 2 * 768,
    "deit": 5_717_416,
    "efficientnet": 5_288_548,
}

# Inputs of the head (None: there is none), and weights of the stem for each input channel.
HEAD = {
    "resnet": 2048,
    "vgg": 4096,
    "mobilenet": 1280,
    "convnext": 1024,
    "vit": 768,
    "dinov2": None,
    "deit": 192,
    "efficientnet": 1280,
}
STEM = {
    "resnet": 64 * 7 * 7,
    "vgg": 64 * 3 * 3,
    "mobilenet": 32 * 3 * 3,
    "convnext": 128 * 4 * 4,
    "vit": 768 * 16 * 16,
    "dinov2": 768 * 14 * 14,
    "deit": 192 * 16 * 16,
    "efficientnet": 32 * 3 * 3,
}

# Bytes of the published files of CIFAR-10 (10 classes, RGB) and EMNIST (47 classes, grey).
FILES = {
    ("resnet", 10, 3): 94_430_785,
    ("resnet", 47, 1): 94_708_929,
    ("vgg", 10, 3): 537_216_645,
    ("vgg", 47, 1): 537_818_373,
    ("mobilenet", 10, 3): 9_190_221,
    ("mobilenet", 47, 1): 9_377_485,
    ("convnext", 10, 3): 350_431_889,
    ("convnext", 47, 1): 350_565_461,
    ("vit", 10, 3): 343_284_689,
    ("vit", 47, 1): 341_825_617,
    ("dinov2", 10, 3): 346_396_449,
    ("dinov2", 47, 1): 345_192_225,
}


@functools.cache
def build_meta(name: str, num_classes: int, in_channels: int) -> nn.Module:
    """Return a network that several tests share: none may change it."""
    with torch.device("meta"):
        return load_model(name).build(num_classes, in_channels, False).eval()


def images(channels: int, size: int = 224) -> Tensor:
    return torch.zeros(1, channels, size, size, device="meta")


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}


@pytest.mark.parametrize(("name", "channels"), THOP)
def test_thop_counts_what_was_published(name, channels):
    network = copy.deepcopy(build_meta(name, 10, channels))  # thop leaves counters in it
    operations, _ = thop.profile(network, (images(channels),), verbose=False)
    assert f"{operations / 1e9:.4f}" == THOP[name, channels]


@pytest.mark.parametrize("name", MODELS)
def test_true_multiply_accumulates(name):
    network = build_meta(name, 768 if HEAD[name] is None else 1000, 3)
    with FlopCounterMode(display=False) as counter:
        network(images(3))
    assert counter.get_total_flops() / 2e9 == pytest.approx(GMACS[name], rel=0.005)


@pytest.mark.parametrize("name", MODELS)
def test_parameters_of_the_full_network(name):
    assert count(build_meta(name, 768 if HEAD[name] is None else 1000, 3)) == PARAMETERS[name]


@pytest.mark.parametrize("name", MODELS)
def test_parameters_follow_classes_and_channels(name):
    head = HEAD[name]
    fewer_rows = 0 if head is None else (1000 - 47) * (head + 1)
    stem_norm = 2 * 128 if name == "convnext" else 0
    expected = PARAMETERS[name] - fewer_rows - 2 * STEM[name] - stem_norm
    assert count(build_meta(name, 47, 1)) == expected


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("channels", [1, 3])
def test_one_logit_for_every_class(name, channels):
    logits = build_meta(name, 10, channels)(images(channels))
    assert logits.shape == (1, 768 if name == "dinov2" else 10)


@pytest.mark.parametrize(("name", "classes", "channels"), FILES)
def test_published_files_hold_these_tensors(name, classes, channels):
    """What a file has over its numbers is 300 to 400 bytes of archive for every tensor."""
    state = hub_state(channels) if name == "dinov2" else network_state(name, classes, channels)
    numbers = sum(value.numel() * value.element_size() for value in state.values())
    assert 300 < (FILES[name, classes, channels] - numbers) / len(state) < 400


def network_state(name: str, classes: int, channels: int) -> dict[str, Tensor]:
    return dict(build_meta(name, classes, channels).state_dict())


def hub_state(channels: int) -> dict[str, Tensor]:
    """The tensors of the published DINOv2 network, by the names they have there."""
    width = 768
    wanted = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + (518 // 14) ** 2, width),
        "register_tokens": (1, 4, width),
        "mask_token": (1, width),
        "patch_embed.proj.weight": (width, channels, 14, 14),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    linear = {"attn.qkv": (3, 1), "attn.proj": (1, 1), "mlp.fc1": (4, 1), "mlp.fc2": (1, 4)}
    for block in (f"blocks.{number}" for number in range(12)):
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
            wanted[f"{block}.{name}"] = (width,)
        for name in ("ls1.gamma", "ls2.gamma"):
            wanted[f"{block}.{name}"] = (width,)
        for name, (rows, columns) in linear.items():
            wanted[f"{block}.{name}.weight"] = (rows * width, columns * width)
            wanted[f"{block}.{name}.bias"] = (rows * width,)
    return {key: torch.zeros(shape, device="meta") for key, shape in wanted.items()}


@pytest.mark.parametrize("channels", [1, 3])
def test_published_dinov2_fits_once_adapted(channels):
    adapted = load_model("dinov2").adapt_published(hub_state(channels))
    assert shapes(adapted) == shapes(network_state("dinov2", 10, channels))


def test_adapted_dinov2_adds_the_position_of_the_class_token_once():
    state = {
        "cls_token": torch.full((1, 1, 2), 3.0),
        "pos_embed": torch.tensor([[[10.0, 20.0], [1.0, 2.0], [3.0, 4.0]]]),
        "register_tokens": torch.full((1, 4, 2), 7.0),
        "mask_token": torch.zeros(1, 2),
    }
    adapted = load_model("dinov2").adapt_published(state)
    assert adapted["cls_token"].tolist() == [[[13.0, 23.0]]]
    assert adapted["pos_embed"].tolist() == [[[1.0, 2.0], [3.0, 4.0]]]
    assert adapted["reg_token"].tolist() == [[[7.0, 7.0]] * 4]
    assert set(adapted) == {"cls_token", "pos_embed", "reg_token"}
    assert set(state) == {"cls_token", "pos_embed", "register_tokens", "mask_token"}


def test_dinov2_refuses_more_classes_than_it_has_features():
    with pytest.raises(RequestError, match="at most 768 classes apart, found 769"):
        load_model("dinov2").build(769, 3, False)


@pytest.mark.parametrize(
    ("name", "table"), [("vit", "encoder.pos_embedding"), ("deit", "pos_embed")]
)
def test_resized_transformer_keeps_the_class_position_and_takes_the_size(name, table):
    """The class token has a position of its own; those of the patches are the same everywhere."""
    network = copy.deepcopy(build_meta(name, 10, 1))
    owner, _, own = table.rpartition(".")
    before = torch.full(network.get_parameter(table).shape, 0.25)
    before[:, 0] = torch.rand(before.shape[-1])
    setattr(network.get_submodule(owner), own, nn.Parameter(before))
    resized = load_model(name).resize(network, 32)
    after = resized.get_parameter(table)
    assert after.shape == (1, 1 + 2 * 2, before.shape[-1])
    assert after.requires_grad
    assert torch.equal(after[:, 0], before[:, 0])
    assert torch.allclose(after[:, 1:], torch.tensor(0.25))
    assert resized.to("meta")(images(1, 32)).shape == (1, 10)


@pytest.mark.parametrize("name", ["vit", "deit"])
def test_transformer_refuses_a_size_that_cuts_a_patch(name):
    spec = load_model(name)
    with pytest.raises(RequestError, match="image_size 30: a multiple of 16 wanted"):
        spec.resize(build_meta(name, 10, 3), 30)


def test_dinov2_takes_any_whole_number_of_patches():
    assert build_meta("dinov2", 10, 1)(images(1, 28)).shape == (1, 768)


def test_pretrained_weights_stay_except_head_and_grey_stem(monkeypatch):
    """The download is replaced by a known network with 1000 classes."""
    donor = torchvision.models.mobilenet_v2().state_dict()
    asked = []

    def fetch(url: str, **_options: object) -> dict[str, Tensor]:
        asked.append(url)
        return donor

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", fetch)
    state = load_model("mobilenet").build(10, 1, True).state_dict()
    changed = {key for key, value in state.items() if not torch.equal(value, donor[key])}
    assert len(asked) == 1
    assert changed == {"features.0.0.weight", "classifier.1.weight", "classifier.1.bias"}
