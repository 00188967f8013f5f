"""The ways to run a published tree agree, figures are what they say, and errors are one line."""

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.cifar10 import SPEC
from harness.errors import CellError
from studies import trunk_evaluation
from studies.trunk_evaluation import (
    BATCHED_BF16,
    BATCHED_INT8,
    NAMES,
    PUBLISHED,
    RESIDENT,
    TRACED,
    TRACED_INT8,
    Round,
    Way,
    all_ways,
    check_traced,
    render,
)
from trunk.nodes import build_node, feature_shape
from trunk.published import load_published_trunk, published_tree
from trunk.routing import Trunk
from trunk.tree import Node, NodeNetwork, Tree

TREES = Path(__file__).resolve().parents[3] / "shared" / "published" / "trunk"
LEAVES = tuple((label,) for label in range(5))
GROUPS = {"root": ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9)), "sg1": LEAVES, "sg2": LEAVES}


def network(shape, layers="root", outputs=2, backbone="vgg"):
    return NodeNetwork(backbone=backbone, layers=layers, input_shape=shape, outputs=outputs)


ROOT = network((3, 8, 8))
MAP = feature_shape(ROOT)
# As the published CIFAR-10 tree has it, so are these files read.
NETWORKS = {"root": ROOT, "sg1": network(MAP, "pair", 5), "sg2": network(MAP, "other", 5)}


def write(folder, name, value):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".pt":
        torch.save(value, path)
    else:
        path.write_text(json.dumps(value), encoding="utf-8")


def random_state(network):
    """Return random weights, normalised so that not every image takes the same way."""
    node = build_node(network)
    for _ in range(20):
        node(torch.randn(16, *network.input_shape))
    return node.state_dict()


@pytest.fixture
def folder(tmp_path):
    """Write a tree of two levels in the published layout, with random weights."""
    torch.manual_seed(0)
    folder = tmp_path / "trunk" / "cifar10" / "vgg" / "1.02"
    write(folder, "target_map.json", {str(n): [n // 5, n % 5] for n in range(10)})
    inputs = {"root": (ROOT.input_shape, 2)}
    for number, name in enumerate(("sg1", "sg2")):
        leaves = [f"leaf{5 * number + label}" for label in range(5)]
        inputs |= {name: (MAP, 5)} | {leaf: ([], 1) for leaf in leaves}
    write(folder, "model_weights/inputs_to_models.json", inputs)
    for name, groups in GROUPS.items():
        write(folder, f"{name}_supergroups.json", {str(n): g for n, g in enumerate(groups)})
        write(folder, f"model_softmax/{name}_avg_softmax.pt", torch.eye(sum(map(len, groups))))
        write(folder, f"model_weights/{name}.pt", random_state(NETWORKS[name]))
    return folder


@pytest.fixture
def data_file(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(24, dtype=np.uint8) % 10
    arrays = {"train_images": pixels[:10], "train_labels": labels[:10]}
    arrays |= {"test_images": pixels, "test_labels": labels}
    np.savez(tmp_path / "own.npz", **arrays, classes=np.array(SPEC.classes))
    return tmp_path / "own.npz"


def two_levels(backbone):
    """Return a tree of four classes for 8×8 images with random weights."""
    torch.manual_seed(0)
    root = network((3, 8, 8), backbone=backbone)
    below = network(feature_shape(root), "other", backbone=backbone)
    nodes = [Node(path=(), groups=((0, 1), (2, 3)), network=root)]
    nodes += [Node(path=(n,), groups=((2 * n,), (2 * n + 1,)), network=below) for n in (0, 1)]
    return Trunk(Tree(nodes=tuple(nodes))).eval()


def test_all_ways_give_the_same_classes(folder):
    trunk = load_published_trunk(published_tree("cifar10"), folder.parents[2], 10)
    images = torch.randn(9, 3, 8, 8)
    ways = all_ways(trunk, folder, images[:2], torch.randn(20, 3, 8, 8))
    assert tuple(ways) == NAMES
    wanted = trunk.route(images)
    assert len(wanted.unique()) > 1
    found = {name: way.run(images) for name, way in ways.items()}
    # These may choose otherwise between choices that are nearly as likely.
    assert found.pop(BATCHED_BF16).shape == (9,)
    assert torch.equal(found.pop(BATCHED_INT8), found.pop(TRACED_INT8))
    assert all(torch.equal(classes, wanted) for classes in found.values())


def test_the_published_way_reads_the_files_for_every_image(folder):
    trunk = load_published_trunk(published_tree("cifar10"), folder.parents[2], 10)
    image = torch.randn(1, 3, 8, 8)
    names = {(): "root", (0,): "sg1", (1,): "sg2"}
    files = {path: folder / f"model_weights/{name}.pt" for path, name in names.items()}
    route = trunk_evaluation._published_way(trunk.tree, files)
    before = int(route(image))
    other = (before + 1) % 10
    for path, chosen in (((), other // 5), ((other // 5,), other % 5)):
        file = files[path]
        state = torch.load(file, weights_only=True)
        state["classifier.0.bias"][chosen] = 1e6
        torch.save(state, file)
    assert route(image).tolist() == [other]
    assert trunk.route(image).tolist() == [before]


@pytest.mark.parametrize("backbone", ["vgg", "mobilenet", "compact"])
def test_traced_nodes_give_what_eager_ones_give(backbone):
    trunk, images = two_levels(backbone), torch.randn(6, 3, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        traced = trunk.prepare_for_single_images()
    check_traced(traced, trunk, images)
    assert torch.equal(traced.route(images), trunk.route(images))
    assert all(isinstance(part, torch.jit.ScriptModule) for part in traced.networks.values())
    assert not any(isinstance(part, torch.jit.ScriptModule) for part in trunk.networks.values())
    assert not torch.jit.onednn_fusion_enabled()


def test_traced_nodes_that_differ_are_not_timed():
    trunk, other = two_levels("compact"), two_levels("compact")
    with torch.no_grad():
        other.networks["1"].classifier[0].bias.add_(torch.tensor([0.1, 0.0]))
    with pytest.raises(CellError, match="do not give what the eager ones give"):
        check_traced(other.prepare_for_single_images(), trunk, torch.randn(2, 3, 8, 8))


def test_the_published_cifar10_tree_runs_alike_in_every_way():
    published = published_tree("cifar10")
    if not (TREES / published.folder).exists():
        pytest.skip("the published trees are not here")
    trunk = load_published_trunk(published, TREES, 10)
    images = torch.randn(4, 3, 32, 32)
    ways = all_ways(trunk, TREES / published.folder, images, images)
    wanted = trunk.route(images)
    assert all(torch.equal(ways[name].run(images), wanted) for name in (PUBLISHED, TRACED))


def test_a_way_sees_no_more_images_than_its_limit():
    seen = []

    def route(images):
        seen.append(len(images))
        return images[:, 0]

    way = Way(route=route, batch_size=3, limit=7)
    assert way.run(torch.arange(20.0)[:, None]).tolist() == [*range(7)]
    assert seen == [3, 3, 1]


def rounds_by_hand():
    """Return three rounds: all ways at 10, 20 and 80 images/s, the published one at 5, 5 and 10."""
    rounds = []
    for rate, slow, latency in ((10.0, 5.0, 2.0), (20.0, 5.0, 1.0), (80.0, 10.0, 4.0)):
        right = {name: torch.tensor([True, True, False, False]) for name in NAMES}
        rounds.append(
            Round(
                images_per_s=dict.fromkeys(NAMES, rate) | {PUBLISHED: slow},
                right=right | {PUBLISHED: torch.tensor([True, False])},
                latency_ms={RESIDENT: 4.0, TRACED: latency},
            )
        )
    return rounds


def test_ratios_are_taken_within_rounds_and_accuracy_on_the_same_images():
    lines = render(rounds_by_hand(), threads=2).splitlines()
    rows = {cells[1].strip(): [c.strip() for c in cells[2:-1]] for cells in map(split, lines[2:11])}
    assert tuple(rows) == NAMES
    assert rows[PUBLISHED] == ["5", "1.00", "50.00", "—", "—", "—"]
    assert rows[TRACED][:4] == ["20", "4.00 (2.00–8.00)", "100.00", "50.00"]
    assert rows[TRACED][4:] == ["2.00", "2.00 (1.00–4.00)"]
    assert rows[RESIDENT][4:] == ["4.00", "1.00"]
    assert rows[BATCHED_BF16][4:] == ["—", "—"]
    assert "12 images in 3 rounds, 2 CPU thread(s)" in lines[12]
    assert 'first 2 of each round: "same images" are those 6' in lines[12]


def split(line):
    return line.split("|")


def test_the_command_prints_one_table(folder, data_file, capsys, monkeypatch):
    monkeypatch.setattr(trunk_evaluation, "_PUBLISHED_LIMIT", 2)
    monkeypatch.setattr(trunk_evaluation, "_SECONDS_AN_IMAGE", 0.0)
    monkeypatch.setattr(trunk_evaluation, "_LATENCY_IMAGES", 1)
    trunk_evaluation.main("cifar10", folder.parents[3], data_file, images=19)
    text = capsys.readouterr().out
    assert text.count("\n| ") == len(NAMES) + 1
    assert "15 images in 5 rounds, 1 CPU thread(s)" in text
    assert '"same images" are those 10' in text
    assert re.search(rf"{RESIDENT} \| \d+ \| [\d.]+ \([\d.–]+\) \| [\d.]+ \| [\d.]+ \|", text)


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        ("digits", {}, "no weights were published for digits/trunk"),
        ("cifar10", {"images": 25}, "--images is 25; wanted 5 to 24, all there are"),
        ("cifar10", {"images": 4}, "--images is 4; wanted 5 to 24, all there are"),
        ("svhn", {}, "own.npz"),
    ],
)
def test_a_wrong_request_is_one_line(dataset, options, message, folder, data_file, capsys):
    with pytest.raises(SystemExit) as stopped:
        trunk_evaluation.main(dataset, folder.parents[3], data_file, **options)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error


def test_a_missing_tree_is_one_line(tmp_path, data_file, capsys):
    with pytest.raises(SystemExit):
        trunk_evaluation.main("cifar10", tmp_path, data_file)
    assert "trunk/cifar10/vgg/1.02: no such folder" in capsys.readouterr().err
