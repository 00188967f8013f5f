"""Several paths: followed by hand, all of them equal to the full tree, batches to single images."""

import copy
import dataclasses
import itertools

import pytest
import torch
from torch import nn

from harness.spec import BeamNetwork
from trunk.beam import Beam, search
from trunk.routing import Trunk
from trunk.tree import Tree


class Fixed(nn.Module):
    """A node whose probabilities are the row of a table that the first pixel names."""

    def __init__(self, *rows):
        super().__init__()
        self.rows = torch.tensor(rows).log()
        self.seen = []

    def forward(self, inputs):
        pixels = inputs[:, 0, 0, 0].long()
        self.seen += pixels.tolist()
        return inputs + 0, self.rows[pixels]


@pytest.fixture
def fixed(small_tree):
    """Leaves 1 and 2 at the root, 3 at node 0, 0 and 4 at node 0-0.

    Image 0 walks to class 3 (0.35), but class 1 has 0.4. Image 1 is sure. Image 2 walks to class 2
    (0.38); below node 0 is class 3 with 0.342, but class 0 has 0.0. Image 3 walks to class 3 with
    0.255; class 0 has 0.2205, and class 1 0.3.
    """
    trunk = Trunk(small_tree).eval()
    tables = {
        "root": ([0.5, 0.4, 0.1], [0.1, 0.1, 0.8], [0.36, 0.26, 0.38], [0.5, 0.3, 0.2]),
        "0": ([0.3, 0.7], [0.5, 0.5], [0.05, 0.95], [0.49, 0.51]),
        "0-0": ([0.6, 0.4], [0.9, 0.1], [0.5, 0.5], [0.9, 0.1]),
    }
    for name, rows in tables.items():
        trunk.networks[name] = Fixed(*rows)
    return trunk


def images_of(*pixels):
    return torch.stack([torch.full((1, 8, 8), float(pixel)) for pixel in pixels])


def seen(trunk):
    return {name: sorted(network.seen) for name, network in trunk.networks.items()}


@pytest.mark.parametrize(
    ("paths", "threshold", "classes", "below"),
    [
        (1, 0.0, [3, 2, 2, 3], [0, 3]),
        # Image 2 goes to node 0, where no leaf is better; images 0 and 3 change to a leaf.
        (2, 0.0, [1, 2, 2, 1], [0, 3]),
        (2, 0.35, [1, 2, 2, 3], [0, 3]),
        (2, 0.45, [3, 2, 2, 3], [0, 3]),
        (3, 0.0, [1, 2, 2, 1], [0, 3]),
    ],
)
def test_the_paths_are_those_that_can_win(fixed, paths, threshold, classes, below):
    trunk = fixed.with_beam(paths, threshold)
    assert trunk.route(images_of(0, 1, 2, 3)).tolist() == classes
    # 0.36 < 0.38: the leaf of image 2 cannot be beaten below node 0.
    assert seen(fixed) == {"root": [0, 1, 2, 3], "0": below, "0-0": []}


@pytest.fixture
def forked(small_tree):
    """A root with two child nodes, of classes 0 and 1, and of 2 and 3, and class 4 as a leaf.

    Image 0 walks to class 0 with 0.24; the other node has 0.36. Image 1 is as unsure at the root,
    but sure at the first node: 0.4 is more than the other node has.
    """
    root, below, _ = small_tree.nodes
    nodes = (
        dataclasses.replace(root, groups=((0, 1), (2, 3), (4,))),
        dataclasses.replace(below, groups=((0,), (1,))),
        dataclasses.replace(below, path=(1,), groups=((2,), (3,))),
    )
    trunk = Trunk(Tree(nodes=nodes)).eval()
    trunk.networks["root"] = Fixed([0.4, 0.36, 0.24], [0.44, 0.36, 0.2])
    trunk.networks["0"] = Fixed([0.6, 0.4], [0.95, 0.05])
    trunk.networks["1"] = Fixed([0.1, 0.9], [0.5, 0.5])
    return trunk


def test_a_further_path_runs_a_node_that_can_win_and_shares_the_root(forked):
    labels, ran = forked.with_beam(2, 0.0).follow(images_of(0, 1, 0))
    assert labels.tolist() == [3, 0, 3]
    assert ran.tolist() == [[True, True, True], [True, True, False], [True, True, True]]
    assert seen(forked) == {"root": [0, 0, 1], "0": [0, 0, 1], "1": [0, 0]}


@pytest.mark.parametrize(("threshold", "classes"), [(0.35, [3, 0]), (0.37, [0, 0])])
def test_the_threshold_is_a_probability_from_the_root_on(forked, threshold, classes):
    trunk = forked.with_beam(3, threshold)
    assert trunk.route(images_of(0, 1)).tolist() == classes
    assert [trunk.route(image[None]).item() for image in images_of(0, 1)] == classes


@pytest.mark.parametrize("seed", [0, 3, 7])
def test_as_many_paths_as_nodes_are_the_full_tree(seed, unsure_trunk):
    trunk = unsure_trunk(seed)
    images = torch.randn(40, 1, 8, 8)
    with torch.inference_mode():
        wanted = trunk(images).argmax(1)
    found = trunk.with_beam(len(trunk.tree.nodes), 0.0).route(images)
    assert found.dtype == torch.int64
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize(("paths", "threshold"), [(1, 0.0), (2, 0.0), (2, 0.2), (3, 0.1)])
def test_images_are_independent_of_their_batch(seed, paths, threshold, unsure_trunk):
    plain = unsure_trunk(seed)
    trunk = plain.with_beam(paths, threshold)
    images = torch.randn(8, 1, 8, 8)
    labels, ran = search(tuple(trunk.networks.values()), trunk._steps, trunk.beam, images)
    alone = [trunk.follow(image[None]) for image in images]
    assert torch.equal(labels, torch.cat([label for label, _ in alone]))
    assert torch.equal(ran, torch.cat([nodes for _, nodes in alone]))
    order = torch.randperm(8)
    for piece in order.split(3):
        found, nodes = trunk.follow(images[piece])
        assert torch.equal(found, labels[piece])
        assert torch.equal(nodes, ran[piece])
    if paths == 1:
        assert torch.equal(labels, plain.route(images))


@pytest.mark.parametrize("seed", [0, 6, 7])
@torch.inference_mode()
def test_a_narrower_search_needs_no_node(seed, unsure_trunk):
    trunk = unsure_trunk(seed)
    images = torch.randn(40, 1, 8, 8)
    widest = trunk.with_beam(4, 0.0).search(images)
    for paths, threshold in itertools.product((1, 2, 3, 4), (0.0, 0.1, 0.2, 1.0)):
        labels, ran = trunk.with_beam(paths, threshold).follow(images)
        narrowed = widest.narrowed(Beam(paths=paths, threshold=threshold))
        assert torch.equal(narrowed.labels, labels)
        assert torch.equal(narrowed.ran, ran)


def by_definition(trunk, image, paths, threshold):
    """Return the class of an image from the probabilities of all nodes, without a heap."""
    inputs, likelihood = {(): image}, {}
    for node, network in zip(trunk.tree.nodes, trunk.networks.values(), strict=True):
        maps, logits = network(inputs[node.path])
        above = likelihood.get(node.path, torch.zeros(()))
        for index, each in enumerate(logits[0].log_softmax(0)):
            inputs[(*node.path, index)] = maps
            likelihood[(*node.path, index)] = above + each
    inner = {node.path: len(node.groups) for node in trunk.tree.nodes}
    ran, followed, leaves, at = set(), set(), [], ()
    for _ in range(paths):
        while at in inner:
            ran.add(at)
            at = max(((*at, index) for index in range(inner[at])), key=likelihood.__getitem__)
            followed.add(at)
        leaves.append(at)
        best = max(leaves, key=likelihood.__getitem__)
        left = [
            (*path, index)
            for path in ran
            for index in range(inner[path])
            if (*path, index) not in followed
        ]
        at = max(left, key=likelihood.__getitem__, default=best)
        if likelihood[at] <= likelihood[best] or likelihood[at].exp() < threshold:
            break
        followed.add(at)
    node = trunk.tree.by_path[best[:-1]]
    return node.groups[best[-1]][0], sorted(ran)


@pytest.mark.parametrize("seed", [0, 7])
@torch.inference_mode()
def test_the_search_is_what_it_is_said_to_be(seed, unsure_trunk):
    trunk = unsure_trunk(seed)
    images = torch.randn(8, 1, 8, 8)
    for paths, threshold in itertools.product((2, 4), (0.0, 0.1, 0.3)):
        labels, ran = trunk.with_beam(paths, threshold).follow(images)
        for image, label, nodes in zip(images, labels, ran, strict=True):
            wanted = by_definition(trunk, image[None], paths, threshold)
            names = [trunk.tree.nodes[index].path for index in nodes.nonzero()[:, 0]]
            assert (int(label), names) == wanted


@pytest.mark.parametrize("paths", [1, 2, 4])
def test_a_threshold_of_one_is_one_path(paths, unsure_trunk):
    trunk = unsure_trunk(3)
    images = torch.randn(20, 1, 8, 8)
    assert torch.equal(trunk.with_beam(paths, 1.0).route(images), trunk.route(images))


def test_copies_for_inference_follow_as_many_paths(unsure_trunk):
    trunk = unsure_trunk(6).with_beam(3, 0.05)
    images = torch.randn(16, 1, 8, 8)
    wanted, nodes = trunk.follow(images)
    several = nodes.sum(1) > trunk.with_beam(1, 0.0).follow(images)[1].sum(1)
    assert several.any()
    for copied in (trunk.prepare_for_inference(), trunk.prepare_for_single_images()):
        assert copied.beam == trunk.beam
        for image, label in zip(images, wanted, strict=True):
            assert copied.route(image[None]).tolist() == [int(label)]


def test_a_beam_leaves_the_network_alone_and_shares_its_weights(fixed):
    other = fixed.with_beam(2, 0.25)
    assert other.networks["0"] is fixed.networks["0"]
    assert isinstance(other, BeamNetwork)
    assert (fixed.beam_words, fixed.route(images_of(0)).tolist()) == ("", [3])
    assert other.beam_words == "up to 2 paths, the others from probability 0.25 on"
    assert copy.deepcopy(other).route(images_of(0)).tolist() == [1]


def test_no_image_is_no_class(fixed):
    labels, ran = fixed.with_beam(2, 0.0).follow(torch.empty(0, 1, 8, 8))
    assert (labels.shape, ran.shape) == ((0,), (0, 3))
    assert seen(fixed) == {"root": [], "0": [], "0-0": []}


def test_paths_taken_together_are_named_by_their_ends(unsure_trunk):
    trunk = unsure_trunk(6).with_beam(3, 0.0)
    images = torch.randn(40, 1, 8, 8)
    _, ran = trunk.follow(images)
    names = trunk.name_paths(images)
    assert any("+" in name for name in names)
    counts = [sum(p.numel() for p in part.parameters()) for part in trunk.networks.values()]
    for name, nodes in zip(names, ran, strict=True):
        path = trunk.find_path(name)
        own = sum(count for count, ran_it in zip(counts, nodes, strict=True) if ran_it)
        assert sum(p.numel() for p in path.network.parameters()) == own
        path.network(images[:1])
        assert len(set(path.classes)) == len(path.classes) > 0


@pytest.mark.parametrize("name", ["", "1", "0+", "0+7", "root+1", "0-0-0", "+"])
def test_there_is_no_path_of_another_name(fixed, name):
    assert fixed.find_path(name) is None


def test_the_nodes_that_paths_share_run_once(small_tree):
    torch.manual_seed(0)
    trunk = Trunk(small_tree).eval()
    calls = []
    for name, network in trunk.networks.items():
        network.register_forward_hook(lambda *_, name=name: calls.append(name))
    both = trunk.find_path("0+0-0")
    both.network(torch.rand(1, 1, 8, 8))
    assert calls == ["root", "0", "0-0"]
    assert set(both.classes) == {0, 3, 4}
