"""Node networks: shapes and sizes by hand, keys as published, folding that changes nothing."""

import dataclasses

import pytest
import torch
from torch import nn

from harness.errors import RequestError
from harness.measure.operations import count_macs
from trunk.backbones import BACKBONES
from trunk.nodes import build_node, feature_shape, fold_batch_norm
from trunk.tree import NodeNetwork

EVERY_LIST = [(name, layers) for name, backbone in BACKBONES.items() for layers in backbone.layers]


def described(backbone, layers, shape, outputs=2):
    return NodeNetwork(backbone=backbone, layers=layers, input_shape=shape, outputs=outputs)


def parameters(network):
    return sum(parameter.numel() for parameter in build_node(network).parameters())


def test_padded_maps_grow_from_28_to_38_to_50_to_62():
    root = described("mobilenet", "root", (1, 28, 28))
    first = described("mobilenet", "other", feature_shape(root))
    second = described("mobilenet", "other", feature_shape(first))
    assert first.input_shape == (32, 38, 38)
    assert second.input_shape == (48, 50, 50)
    assert feature_shape(second) == (48, 62, 62)


def test_compact_maps_keep_their_size():
    root = described("compact", "root", (1, 28, 28))
    assert feature_shape(root) == (32, 14, 14)
    assert feature_shape(described("compact", "other", (32, 14, 14))) == (48, 14, 14)


def test_vgg_maps_shrink_where_the_lists_say():
    assert feature_shape(described("vgg", "root", (3, 32, 32))) == (64, 16, 16)
    assert feature_shape(described("vgg", "pair", (64, 16, 16))) == (32, 16, 16)
    assert feature_shape(described("vgg", "triple", (64, 16, 16))) == (128, 8, 8)
    assert feature_shape(described("vgg", "other", (64, 16, 16))) == (128, 4, 4)


@pytest.mark.parametrize(("backbone", "layers"), EVERY_LIST)
@pytest.mark.parametrize("shape", [(1, 16, 16), (5, 17, 14)])
def test_computed_shapes_are_those_of_the_network(backbone, layers, shape):
    network = described(backbone, layers, shape, outputs=4)
    maps, logits = build_node(network).eval()(torch.rand(2, *shape))
    assert tuple(maps.shape) == (2, *feature_shape(network))
    assert tuple(logits.shape) == (2, 4)


def test_parameter_counts_by_hand():
    # Convolutions 3·3·64·64 + 64 and 3·3·64·32 + 32, norms 2·64 + 2·32, head 32·16·16·2 + 2.
    assert parameters(described("vgg", "pair", (64, 16, 16))) == 36928 + 18464 + 192 + 16386
    # Blocks from 32, 48 and 48 channels: a·4a, 9·4a and 4a·48 weights, norms 2·(4a + 4a + 48).
    first = 32 * 128 + 9 * 128 + 128 * 48 + 2 * (128 + 128 + 48)
    others = 2 * (48 * 192 + 9 * 192 + 192 * 48 + 2 * (192 + 192 + 48))
    head = 48 * 3 + 3
    assert parameters(described("mobilenet", "other", (32, 38, 38), 3)) == first + others + head
    assert parameters(described("compact", "other", (32, 14, 14), 3)) == first + others + head


def test_keys_are_those_of_the_published_files():
    vgg = build_node(described("vgg", "root", (3, 32, 32))).state_dict()
    assert [key for key in vgg if key.endswith("weight")] == [
        *(f"features.{index}.weight" for index in (0, 1, 3, 4, 6, 7, 9, 10, 12, 13, 15, 16)),
        "classifier.0.weight",
    ]
    mobile = build_node(described("mobilenet", "root", (1, 28, 28))).state_dict()
    assert mobile["features.0.weight"].shape == (24, 1, 3, 3)
    block = "features.8.inverted_residual"
    assert mobile[f"{block}.0.conv_1x1_block.0.weight"].shape == (128, 32, 1, 1)
    assert mobile[f"{block}.1.depthwise_convolution_block.0.weight"].shape == (128, 1, 3, 3)
    assert mobile[f"{block}.2.conv_1x1_block.1.running_mean"].shape == (32,)
    assert mobile["classifier.0.weight"].shape == (2, 32, 1, 1)
    assert not any(key.startswith("features.9") for key in mobile)


def test_layers_are_those_of_the_published_lists():
    vgg = build_node(described("vgg", "root", (3, 32, 32))).features
    block = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert [type(layer) for layer in vgg] == [*6 * block, nn.MaxPool2d, nn.Dropout2d]
    assert vgg[-1].p == 0.5
    mobile = build_node(described("mobilenet", "root", (1, 28, 28)))
    kinds = [type(module) for module in mobile.modules()]
    assert (kinds.count(nn.ReLU6), kinds.count(nn.ReLU), kinds.count(nn.BatchNorm2d)) == (19, 0, 19)


def test_compact_blocks_add_their_input_where_shapes_agree():
    network = build_node(described("compact", "other", (32, 4, 4))).eval()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.zeros_(layer.weight)
    inputs = torch.rand(1, 32, 4, 4)
    first, second, _ = network.features
    assert not first(inputs).any()  # 32 channels become 48: nothing to add to
    wide = torch.rand(1, 48, 4, 4)
    assert torch.equal(second(wide), wide)
    padded = build_node(described("mobilenet", "other", (48, 4, 4)))
    assert not padded.features[0].adds


def test_the_whitening_stem_by_hand():
    root = described("efficient_s", "root", (3, 32, 32))
    stem, norm, _ = build_node(root).features[:3]
    assert not stem.weight.requires_grad
    assert norm.weight.requires_grad
    maps = stem(torch.rand(1, 3, 32, 32))
    assert maps.shape == (1, 24, 31, 31)
    torch.testing.assert_close(maps[:, :12], -maps[:, 12:])
    filters = stem.weight[:12].flatten(1)
    torch.testing.assert_close(filters @ filters.T, torch.eye(12))
    # A grey image is all in the mean; an edge between rows in that pattern as well.
    image = torch.ones(1, 3, 4, 4)
    image[:, :, 2:] = 0
    found = stem(image)[0, :12, :, 0].T
    wanted = torch.zeros(3, 12)
    wanted[:, 0], wanted[1, 2] = torch.tensor([12**0.5, 3**0.5, 0]), 3**0.5
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    ("backbone", "shape", "gmacs", "bytes_each", "megabytes"),
    [
        pytest.param("efficient", (3, 32, 32), 0.1013, 1, 1.17, id="published path, int8 weights"),
        pytest.param("efficient_s", (3, 32, 32), 0.045, 4, 1.17, id="small"),
        pytest.param("efficient_xs", (1, 28, 28), 0.0168, 4, 1.3, id="our EMNIST tree"),
    ],
)
def test_a_path_costs_no_more_than_what_it_replaces(backbone, shape, gmacs, bytes_each, megabytes):
    root = described(backbone, "root", shape, 5)
    path = build_node(root), build_node(described(backbone, "other", feature_shape(root), 5))
    flat = build_node(described(backbone, "flat", shape, 10))
    both = count_macs(nn.Sequential(path[0].features, path[1].features), torch.empty(1, *shape))
    assert both <= count_macs(flat, torch.empty(1, *shape)) <= gmacs * 1e9
    values = [value for part in path for value in part.state_dict().values()]
    assert bytes_each * sum(value.numel() for value in values) <= megabytes * 1e6


@pytest.mark.parametrize(("backbone", "layers"), EVERY_LIST)
def test_folding_batch_norm_changes_no_output(backbone, layers):
    torch.manual_seed(0)
    network = build_node(described(backbone, layers, (3, 12, 12), outputs=3))
    network(torch.rand(16, 3, 12, 12))  # in training mode: moves the running statistics
    network.eval()
    images = torch.rand(4, 3, 12, 12)
    before = network(images)
    fold_batch_norm(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    for found, wanted in zip(network(images), before, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_wrong_names_get_near_matches():
    network = described("mobilenet", "root", (1, 28, 28))
    with pytest.raises(RequestError, match="unknown backbone 'mobilnet': did you mean mobilenet"):
        build_node(dataclasses.replace(network, backbone="mobilnet"))
    with pytest.raises(RequestError, match="unknown layer list of mobilenet 'rot': .*root"):
        feature_shape(dataclasses.replace(network, layers="rot"))


def test_images_too_small_to_pool_are_refused():
    with pytest.raises(RequestError, match="maps of 1×4 are too small for max-pooling by 2"):
        build_node(described("vgg", "root", (1, 1, 4)))
