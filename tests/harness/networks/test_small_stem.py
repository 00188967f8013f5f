"""Small stems of networks from everywhere, found by structure."""

import dataclasses

import pytest
import timm
import torch
import torchvision
import transformers
from torch import nn
from torchvision.models.resnet import BasicBlock

from harness.catalog import load_model
from harness.errors import RequestError
from harness.measure.networks import inference
from harness.measure.operations import count_macs
from harness.measure.runtimes import prepare
from harness.networks.build import build_network, build_pretrained, check_fit
from harness.networks.small_stem import shrink_stem
from harness.plan.settings import complete_settings
from harness.settings import load_settings, recipe_hash, settings_hash
from harness.settings_spec import Settings

_VIT = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_labels": 10}


def settings_of(spec, **changes):
    settings = Settings(**{"stem": "small", "image_size": 32, "normalize": False} | changes)
    return complete_settings(settings, spec, None)


def on_meta(name, **changes):
    spec = load_model(name)
    with torch.device("meta"):
        return build_network(spec, settings_of(spec, **changes), 10, 3).eval()


def first_output(network, size=32):
    """Return the first convolution, and the sides of its output for images of a size."""
    shapes = []
    first = next(part for part in network.modules() if isinstance(part, nn.Conv2d))
    first.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape[2:])))
    device = next(network.parameters()).device
    with inference(network):
        output = network(torch.zeros(2, first.in_channels, size, size, device=device))
    logits = output if isinstance(output, torch.Tensor) else output.logits
    assert (len(logits), logits.shape[1] >= 10) == (2, True)
    return first, shapes[0]


def test_the_operations_of_a_resnet_rise_as_its_maps_do():
    image = torch.zeros(1, 3, 32, 32, device="meta")
    before = count_macs(on_meta("resnet", stem=None), image)
    # conv1: 64 filters of 7×7×3 at 16×16 places; of 3×3×3 at 32×32. All later maps have four times
    # the side: no stride of 2 in conv1, none in the max-pool. The head stays.
    stem, head = 16 * 16 * 64 * 7 * 7 * 3, 2048 * 10
    small = 32 * 32 * 64 * 3 * 3 * 3
    assert small == 1_769_472
    assert count_macs(on_meta("resnet"), image) == small + 16 * (before - stem - head) + head


@pytest.mark.parametrize("name", ["mobilenet", "efficientnet", "efficientnet_lite0", "convnext"])
def test_convolutional_models_look_at_every_pixel(name):
    first, sides = first_output(on_meta(name))
    assert (first.kernel_size, first.stride, sides) == ((3, 3), (1, 1), (32, 32))


@pytest.mark.parametrize("size", [28, 32])
@pytest.mark.parametrize("name", ["vit", "deit", "dinov2"])
def test_transformers_get_patches_of_four_pixels(name, size):
    first, sides = first_output(on_meta(name, image_size=size), size)
    assert (first.kernel_size, first.stride, sides) == ((4, 4), (4, 4), (size // 4, size // 4))


@pytest.mark.parametrize(
    ("build", "pool"),
    [
        (lambda: torchvision.models.resnet18(num_classes=10), "maxpool"),
        (lambda: torchvision.models.densenet121(num_classes=10), "features.pool0"),
        (lambda: torchvision.models.squeezenet1_1(num_classes=10), "features.2"),
        (lambda: torchvision.models.shufflenet_v2_x0_5(num_classes=10), "maxpool"),
        (lambda: torchvision.models.mobilenet_v3_small(num_classes=10), ""),
        (lambda: torchvision.models.swin_t(num_classes=10), ""),
        (lambda: timm.create_model("resnet10t", num_classes=10), "maxpool"),
        (lambda: timm.create_model("convnextv2_atto", num_classes=10), ""),
        (
            lambda: transformers.ResNetForImageClassification(
                transformers.ResNetConfig(depths=[1, 1, 1, 1], num_labels=10)
            ),
            "resnet.embedder.pooler",
        ),
    ],
)
def test_stems_are_found_by_structure(build, pool):
    with torch.device("meta"):
        network = build()
        names = {name for name, part in network.named_modules() if isinstance(part, nn.MaxPool2d)}
        assert not shrink_stem(network, (3, 224, 224), 32)
    left = {name for name, part in network.named_modules() if isinstance(part, nn.MaxPool2d)}
    assert names - left == ({pool} if pool else set())
    first, sides = first_output(network)
    assert (first.kernel_size, first.stride, sides) == ((3, 3), (1, 1), (32, 32))


@pytest.mark.parametrize(
    ("build", "table"),
    [
        (lambda: torchvision.models.vit_b_32(num_classes=10), "encoder.pos_embedding"),
        (lambda: timm.create_model("cait_xxs24_224", num_classes=10), "pos_embed"),
        (
            lambda: transformers.ViTForImageClassification(transformers.ViTConfig(**_VIT)),
            "vit.embeddings.position_embeddings",
        ),
        (
            lambda: transformers.DeiTForImageClassification(transformers.DeiTConfig(**_VIT)),
            "deit.embeddings.position_embeddings",
        ),
    ],
)
def test_positions_are_found_by_structure(build, table):
    with torch.device("meta"):
        network = build()
        prefix = network.get_parameter(table).shape[1] % 7  # besides 7×7 or 14×14 patches
        assert shrink_stem(network, (3, 224, 224), 32)
    assert network.get_parameter(table).shape[1] == prefix + 8 * 8
    first, sides = first_output(network)
    assert (first.kernel_size, sides) == ((4, 4), (8, 8))


def test_positions_are_interpolated_and_the_class_token_keeps_its_own():
    network = torchvision.models.VisionTransformer(64, 16, 1, 2, 8, 16, num_classes=10)
    table = torch.arange(4.0).reshape(1, 4, 1).expand(1, 4, 8)
    network.encoder.pos_embedding = nn.Parameter(torch.cat([torch.full((1, 1, 8), 9.0), table], 1))
    shrink_stem(network, (3, 64, 64), 8)
    # A grid of 2×2 patches before, of 16 pixels; and after, of 4 pixels.
    expected = torch.tensor([9.0, 0, 1, 2, 3]).reshape(1, 5, 1).expand(1, 5, 8)
    assert torch.allclose(network.encoder.pos_embedding, expected, atol=1e-6)
    again = torchvision.models.VisionTransformer(64, 16, 1, 2, 8, 16, num_classes=10)
    shrink_stem(again, (3, 64, 64), 64)
    assert again.encoder.pos_embedding.shape == (1, 1 + 16 * 16, 8)
    assert again.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 10)


def test_a_pool_after_other_layers_stays():
    layers = [nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.MaxPool2d(2)]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    shrink_stem(network, (3, 32, 32), 32)
    assert isinstance(network[3], nn.MaxPool2d)
    assert network[0].stride == (1, 1)


def test_a_layer_without_a_shape_gets_it_from_the_first_image():
    layers = [nn.LazyConv2d(4, 5, stride=2, padding=2), nn.Flatten(), nn.LazyLinear(10)]
    spec = dataclasses.replace(load_model("resnet20"), build=lambda *_: nn.Sequential(*layers))
    network = build_network(spec, settings_of(spec, image_size=8), 10, 1)
    assert (network[0].weight.shape, network[2].in_features) == ((4, 1, 3, 3), 4 * 8 * 8)


@pytest.mark.parametrize("name", ["vgg", "vgg_bn", "resnet20"])
def test_networks_that_look_at_every_pixel_are_refused(name):
    spec = load_model(name)
    with pytest.raises(RequestError, match=r"it looks at every pixel already \(\S+ has stride 1\)"):
        check_fit(settings_of(spec), spec, 10, 3)


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)), "its first layer is no convolution"),
        (nn.Conv2d(3, 10, 8, stride=8), r"its patches of 8 pixels \(\) have no table of positions"),
        (
            torchvision.models.VisionTransformer(32, 4, 1, 2, 8, 16, num_classes=10),
            "its patches have 4 pixels already",
        ),
        (
            torchvision.models.VisionTransformer(32, 16, 1, 2, 8, 16, num_classes=10),
            "image_size 30: a multiple of 4 wanted",
        ),
    ],
)
def test_networks_without_such_a_stem_are_refused(network, words):
    size = 30 if "30" in words else 32
    with pytest.raises(RequestError, match=words):
        shrink_stem(network, (3, 32, 32), size)


@pytest.mark.parametrize(
    ("model", "changes", "words"),
    [
        (
            "resnet",
            {"weights": "published"},
            "small is not the stem that published weights are for",
        ),
        ("resnet", {"training.freeze_backbone": True}, "training.freeze_backbone keeps them"),
        ("resnet", {"training.freeze_layers": 1}, "training.freeze_layers keeps them"),
        ("trunk", {}, "stem: TRUNK trains in stages, and builds its networks itself"),
    ],
)
def test_what_does_not_go_with_a_small_stem_is_refused(model, changes, words):
    settings = load_settings("digits", model, {"stem": "small"} | changes)
    with pytest.raises(RequestError, match=words):
        complete_settings(settings, load_model(model), None)


def test_all_weights_but_those_of_the_stem_are_pre_trained(caplog):
    def build(num_classes, in_channels, pretrained):
        network = torchvision.models.resnet18(num_classes=num_classes)
        if pretrained:
            nn.init.constant_(network.conv1.weight, 3.0)
            nn.init.constant_(network.layer1[0].conv1.weight, 3.0)
        return network

    spec = dataclasses.replace(load_model("resnet"), build=build, pretrained="SOME_WEIGHTS")
    network = build_pretrained(spec, settings_of(spec), 10, 3)
    assert (network.layer1[0].conv1.weight == 3).all()
    assert network.conv1.weight.shape == (64, 3, 3, 3)
    # Uniform within 1 / √(3·3·3), as torch initialises a convolution.
    assert network.conv1.weight.abs().max() <= 27**-0.5
    assert "the stem starts from random weights, all else from SOME_WEIGHTS" in caplog.text


def test_a_small_stem_runs_in_onnx_runtime():
    network = torchvision.models.ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10).eval()
    shrink_stem(network, (3, 32, 32), 16)
    prepared = prepare(network, torch.rand(1, 3, 16, 16), "onnxruntime")
    assert prepared.max_difference < 1e-3


def test_no_hash_changes_where_the_stem_is_the_models_own():
    small = dataclasses.replace(Settings(), stem="small")
    assert recipe_hash(Settings()) != recipe_hash(small)
    assert settings_hash(Settings()) != settings_hash(small)
    # As of the commit before there was this setting.
    assert (settings_hash(Settings()), recipe_hash(Settings())) == (
        "5fc29160f790d166",
        "f3aee6b8e92b790b",
    )
