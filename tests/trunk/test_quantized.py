"""The int8 tree: maps stay int8 between nodes, batches change nothing, and files bring it back."""

import pytest
import torch

from harness.measure.memory import measure_weights_mb
from harness.measure.operations import count_macs, count_parameters
from harness.networks.adapter import RoutedAdapter, adapt
from harness.networks.weights import load_state, read_tensors, write_state
from harness.spec import QuantizedNetwork, RoutedNetwork
from trunk.model import SPEC
from trunk.nodes import feature_shape
from trunk.routing import Trunk
from trunk.tree import Node, NodeNetwork, Tree


def three_levels(backbone, side=8):
    """Return a trained-like tree of five classes: root, 0 (classes 0 to 2) and 0-1 (1 and 2)."""
    torch.manual_seed(0)

    def node(path, groups, shape, layers):
        network = NodeNetwork(
            backbone=backbone, layers=layers, input_shape=shape, outputs=len(groups)
        )
        return Node(path=path, groups=groups, network=network)

    root = node((), ((0, 1, 2), (3,), (4,)), (3, side, side), "root")
    below = node((0,), ((0,), (1, 2)), feature_shape(root.network), "other")
    last = node((0, 1), ((1,), (2,)), feature_shape(below.network), "other")
    trunk = Trunk(Tree(nodes=(root, below, last)))
    for _ in range(4):  # statistics of batch norm
        trunk.train()(torch.randn(32, 3, side, side))
    maps = torch.randn(32, 3, side, side)
    with torch.no_grad():
        for network in trunk.eval().networks.values():
            maps, logits = network(maps)
            network.classifier[0].bias -= logits.mean(0)  # so that images take different paths
    return trunk


@pytest.fixture(scope="module", params=[("vgg", 8), ("compact", 8), ("efficient_xs", 32)])
def trees(request):
    trunk = three_levels(*request.param)
    shape = trunk.tree.root.network.input_shape
    return trunk, SPEC.quantize(trunk, "x86", torch.randn(16, *shape))


@pytest.fixture
def images(trees):
    shape = trees[0].tree.root.network.input_shape
    return torch.randn(37, *shape, generator=torch.Generator().manual_seed(1))


def test_maps_stay_int8_between_nodes(trees, images):
    _, int8 = trees
    maps = images
    with torch.inference_mode():
        for node in int8.networks.values():
            graph = node.int8.graph
            kept = [n for n in graph.graph.nodes if n.target == "dequantize"]
            assert len(kept) == 1  # the logits
            made = [n for n in graph.graph.nodes if n.target is torch.quantize_per_tensor]
            assert len(made) == (maps is images)
            maps, logits = node(maps)
            assert maps.dtype == torch.quint8
            assert logits.dtype == torch.float32


def test_it_is_near_the_float_tree(trees, images):
    trunk, int8 = trees
    with torch.inference_mode():
        wanted, found = trunk(images).exp(), int8(images).exp()
    assert (found - wanted).abs().max() < 0.1


def test_brightness_does_not_get_into_differences_of_colours():
    trunk = three_levels("efficient_xs", 32)
    grey = torch.linspace(-4, 4, 256).view(-1, 1, 1, 1).expand(-1, 3, 32, 32)
    images = torch.cat([grey, torch.randn(64, 3, 32, 32)])
    root = SPEC.quantize(trunk, "x86", images).networks["root"].int8.graph
    stem = getattr(root.features, "0")
    weights = stem.weight().int_repr()
    assert weights.unique().tolist() == [-64, -32, 0, 32, 64]
    levels = torch.quantize_per_tensor(
        grey, root.features_0_input_scale_0, root.features_0_input_zero_point_0, torch.quint8
    )
    assert len(levels.int_repr().unique()) > 128
    maps = stem(levels).dequantize()
    colours = [i for i in range(24) if weights[i].sum((1, 2)).unique().numel() > 1]
    assert len(colours) == 4
    assert (maps[:, colours] == maps[:1, colours]).all()


def test_an_image_gets_the_same_class_in_any_batch(trees, images):
    _, int8 = trees
    whole = int8.route(images)
    assert len(whole.unique()) > 1
    alone = torch.cat([int8.route(image) for image in images.split(1)])
    assert torch.equal(alone, whole)
    assert torch.equal(int8.prepare_for_inference().route(images[:20]), whole[:20])
    assert torch.equal(int8.prepare_for_single_images().route(images[:1]), whole[:1])


def test_what_was_saved_is_loaded(trees, images, tmp_path):
    trunk, int8 = trees
    path = tmp_path / "w.safetensors"
    write_state(path, int8)
    again = SPEC.quantize(
        Trunk(trunk.tree).eval(), "x86", torch.zeros(1, *trunk.tree.root.network.input_shape)
    )
    load_state(again, read_tensors(path), str(path))
    with torch.inference_mode():
        assert torch.equal(again(images), int8(images))


def test_it_is_counted_as_its_float_tree_and_weighed_as_it_is(trees):
    trunk, int8 = trees
    assert isinstance(int8, RoutedNetwork)
    assert isinstance(int8, QuantizedNetwork)
    adapter, image = adapt(int8), torch.zeros(1, *trunk.tree.root.network.input_shape)
    assert isinstance(adapter, RoutedAdapter)
    assert adapter.precision == "int8"
    assert 0.9 * count_parameters(trunk) < count_parameters(adapter.counted)
    assert adapter.weights_mb < 0.31 * measure_weights_mb(trunk)
    for path, wanted in zip(int8.paths(), trunk.paths(), strict=True):
        assert (path.name, path.classes) == (wanted.name, wanted.classes)
        counted = adapt(path.network).counted
        assert count_macs(counted, image) == count_macs(wanted.network, image)
        assert adapt(path.network).weights_mb < 0.35 * measure_weights_mb(wanted.network)


def test_a_node_that_no_image_reaches_is_quantized_too():
    trunk = three_levels("compact")
    with torch.no_grad():
        trunk.networks["root"].classifier[0].bias[0] = -1e3
    int8 = SPEC.quantize(trunk, "x86", torch.randn(8, 3, 8, 8))
    with torch.inference_mode():
        assert int8(torch.randn(4, 3, 8, 8)).isfinite().all()
