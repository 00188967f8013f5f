"""The command on trees, as a user runs it: on a random tree, and on the published CIFAR-10 tree."""

import csv
import dataclasses
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from cli import tree_curve, tree_source, trunk_tree
from harness.data.loading import DataSource, ImageData
from harness.data.splits import MemorySplit
from harness.jobs import Cell, Job
from harness.measure.operations import count_macs
from harness.records.cell import CELLS
from harness.records.predictions import make_predictions
from harness.settings_spec import Settings
from harness.spec import ModelSpec
from trunk.grouping import membership
from trunk.routing import Trunk
from trunk.tree import Node, NodeNetwork, Tree

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
NAMES = ("ant", "bee", "[cat]", "dog", "$elk")
LIKELIHOOD = (
    (0.50, 0.05, 0.10, 0.05, 0.30),
    (0.10, 0.60, 0.10, 0.10, 0.10),
    (0.10, 0.10, 0.60, 0.10, 0.10),
    (0.50, 0.00, 0.00, 0.30, 0.20),
    (0.05, 0.05, 0.05, 0.05, 0.80),
)


def invoke(*arguments):
    return CliRunner().invoke(trunk_tree.app, [str(argument) for argument in arguments])


def words(line):
    return re.split(r"\s{2,}", line.strip())


def rows(result, title):
    """Return the rows below a table's title, with the names of its columns first."""
    table = result.stdout.split(f"\n{title}")[1].split("\n\n")[0]
    return [words(line) for line in table.splitlines()[1:]]


@torch.inference_mode()
def even_out(trunk, images):
    """Shift the choices of a chain of nodes, so that images part at each."""
    inputs = images.float() / 255
    for network in trunk.networks.values():
        inputs, logits = network(inputs)
        network.classifier[0].bias -= logits.mean(0)


@pytest.fixture
def loaded(monkeypatch, tmp_path):
    """A random tree of five classes: {0, 3, 4} together, of them 0 and 4; and 60 images for it."""
    root = NodeNetwork(backbone="compact", layers="root", input_shape=(1, 8, 8), outputs=3)
    below = NodeNetwork(backbone="compact", layers="other", input_shape=(32, 4, 4), outputs=2)
    lowest = NodeNetwork(backbone="compact", layers="other", input_shape=(48, 4, 4), outputs=2)
    tree = Tree(
        nodes=(
            Node(
                path=(),
                groups=((0, 3, 4), (1,), (2,)),
                network=root,
                likelihood=LIKELIHOOD,
                volatility=0.8,
            ),
            Node(path=(0,), groups=((0, 4), (3,)), network=below),
            Node(path=(0, 0), groups=((0,), (4,)), network=lowest),
        )
    )
    torch.manual_seed(1)
    images = torch.randint(0, 256, (60, 1, 8, 8), dtype=torch.uint8)
    labels = torch.arange(60) % 5
    trunk = Trunk(tree).eval()
    even_out(trunk, images)
    source = DataSource(name="mine", sha256="0" * 64, digest_of="nothing", official=False)
    job = Job(
        cell=Cell(dataset="mine", model="trunk", device="cpu"),
        settings=Settings(image_size=8, threads=1),
        data_dir=tmp_path,
        data_file=None,
        weights_dir=tmp_path,
        results_dir=tmp_path,
        offline=True,
        command="",
    )
    tree_and_images = tree_source.Loaded(
        job=job,
        spec=ModelSpec(label="TRUNK", build=lambda *_: trunk, image_size=8),
        trunk=trunk,
        data=ImageData(
            train=MemorySplit(images, labels),
            test=MemorySplit(images, labels),
            classes=NAMES,
            channels=1,
            source=source,
        ),
    )
    monkeypatch.setattr(trunk_tree, "load_tree", lambda request: tree_and_images)
    return tree_and_images


@pytest.fixture
def undrawn(monkeypatch):
    monkeypatch.setattr(trunk_tree, "_save", lambda *_: None)


@pytest.mark.usefixtures("undrawn")
def test_the_table_says_what_single_images_do(loaded, monkeypatch, tmp_path):
    monkeypatch.setattr(tree_source, "_BATCH_SIZE", 7)
    done = invoke("draw", "--output", tmp_path / "out")
    assert done.exit_code == 0, done.output
    test = loaded.data.test
    found = [int(loaded.trunk.route(image[None].float() / 255)) for image in test.images]
    ways = list(zip(test.labels.tolist(), found, strict=True))
    right = 100 * sum(true == way for true, way in ways) / 60
    expected = [["from", "to", "images", "share %", "accuracy %", "classes"]]
    edges = (
        ("root", "0", (0, 3, 4)),
        ("0", "0-0", (0, 4)),
        ("0-0", "0-0-0", (0,)),
        ("0-0", "0-0-1", (4,)),
        ("0", "0-1", (3,)),
        ("root", "1", (1,)),
        ("root", "2", (2,)),
    )
    for start, end, classes in edges:
        came = [true for true, way in ways if way in classes]
        accuracy = 100 * sum(true in classes for true in came) / len(came) if came else None
        share, shown = f"{100 * len(came) / 60:.2f}", ", ".join(NAMES[label] for label in classes)
        text = "no image" if accuracy is None else f"{accuracy:.2f}"
        expected.append([start, end, str(len(came)), share, text, shown])
    assert rows(done, "TRUNK, mine: 60 test images") == expected
    assert f"TRUNK, mine: 60 test images, {right:.2f}% right" in done.stdout
    assert len(set(found)) == 5


def test_every_picture_is_named_in_a_line(loaded, tmp_path):
    for arguments, stems in (
        (("draw",), ["mine-tree"]),
        (("explain", "--class", "$elk"), ["mine-node-root", "mine-node-root-class-4"]),
    ):
        done = invoke(*arguments, "--output", tmp_path)
        assert done.exit_code == 0, done.output
        written = [tmp_path / f"{stem}.{kind}" for stem in stems for kind in ("svg", "png")]
        assert all(f"{path} written\n" in done.stdout for path in written)
        assert all(path.stat().st_size > 1000 for path in written)
    assert len(list(tmp_path.iterdir())) == 6


def test_the_curve_says_what_single_images_do_and_run(loaded, monkeypatch, tmp_path):
    monkeypatch.setattr(tree_curve, "_TIMED_IMAGES", 2)
    command = ("curve", "--beam", "2,3", "--threshold", "0,0.4", "--output", tmp_path)
    done = invoke(*command)
    assert done.exit_code == 0, done.output
    trunk, test = loaded.trunk, loaded.data.test
    images = test.images.float() / 255
    macs = [
        count_macs(network, torch.zeros(1, *node.network.input_shape))
        for node, network in zip(trunk.tree.nodes, trunk.networks.values(), strict=True)
    ]
    with (tmp_path / "mine-curve.csv").open() as file:
        points = list(csv.DictReader(file))
    ways = [("1", ""), ("2", "0.0"), ("2", "0.4"), ("3", "0.0"), ("3", "0.4")]
    assert [(point["beam"], point["threshold"]) for point in points] == ways
    first = trunk.route(images) == test.labels
    for point in points:
        search = trunk.with_beam(int(point["beam"]), float(point["threshold"] or 0))
        found = [search.follow(image[None]) for image in images]
        right = torch.cat([label for label, _ in found]) == test.labels
        total = sum(sum(m for m, r in zip(macs, nodes[0], strict=True) if r) for _, nodes in found)
        assert float(point["accuracy_top1"]) == pytest.approx(100 * right.sum().item() / 60, 1e-4)
        assert float(point["gmacs"]) == pytest.approx(total / 60 / 1e9, 1e-4)
        assert int(point["gained"]) == int((right & ~first).sum())
        assert int(point["lost"]) == int((first & ~right).sum())
        assert float(point["latency_ms"]) > 0
    assert (tmp_path / "mine-curve.png").stat().st_size > 1000
    table = rows(done, "TRUNK, mine: accuracy against cost, 60 test images")
    assert table[0][:4] == ["network", "beam", "threshold", "top-1 %"]
    assert len(table) == 6


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--beam", "0"), "--beam '0': whole numbers from 1 to 100000 wanted"),
        (("--beam", "2,x"), "--beam '2,x': whole numbers"),
        (("--beam", "1.5"), "--beam '1.5': whole numbers"),
        (("--beam", ""), "--beam '': whole numbers"),
        (("--threshold", "0,1.1"), "--threshold '0,1.1': numbers from 0 to 1 wanted"),
        (("--threshold", "nan"), "--threshold 'nan': numbers from 0 to 1 wanted"),
        (("--record", "absent.json"), "absent.json"),
        (("--record", "results/records/digits/trunk-cpu.json"), "the tree is run on mine (0000"),
    ],
)
def test_a_wrong_curve_is_one_line(arguments, message, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    refuse(tmp_path, message, "curve", *arguments)


@pytest.mark.usefixtures("undrawn")
def test_another_network_on_the_same_images_is_a_point(loaded, monkeypatch, tmp_path):
    path = ROOT / "results" / "records" / "digits" / "trunk-cpu.json"
    record = CELLS.read(path)
    source = dataclasses.replace(loaded.data.source, sha256=record.data.data_sha256)
    labels = loaded.data.test.labels.numpy()
    digest = make_predictions(labels, labels).labels_sha256
    accuracy = dataclasses.replace(record.accuracy, test_labels_sha256=digest)
    same_images = tmp_path / "same.json"
    record = dataclasses.replace(record, accuracy=accuracy)
    CELLS.write(tmp_path, record, Path("same.json"))
    flat = dataclasses.replace(record, paths=record.paths[:1])
    CELLS.write(tmp_path, flat, Path("flat.json"))
    tree = record.settings.settings["tree"] | {"backbone": "efficient"}
    settings = record.settings.settings | {"tree": tree}
    settings = dataclasses.replace(record.settings, settings=settings)
    CELLS.write(tmp_path, dataclasses.replace(record, settings=settings), Path("wide.json"))
    images = dataclasses.replace(loaded.data, source=source)
    same = dataclasses.replace(loaded, data=images)
    monkeypatch.setattr(trunk_tree, "load_tree", lambda request: same)
    refuse(tmp_path, "its test images are not those", "curve", "--record", path)
    files = (same_images, tmp_path / "flat.json", tmp_path / "wide.json")
    records = (word for file in files for word in ("--record", file))
    done = invoke("curve", "--beam", "1", *records, "--output", tmp_path)
    assert done.exit_code == 0, done.output
    with (tmp_path / "mine-curve.csv").open() as file:
        one, other, without_tree, wide = csv.DictReader(file)
    assert (one["beam"], other["beam"], other["name"]) == ("1", "", "TRUNK")
    assert without_tree["name"] == "TRUNK of one node"
    assert wide["name"] == "TRUNK of efficient nodes"
    assert float(other["gmacs"]) == pytest.approx(record.operations.gmacs, 1e-4)
    assert float(other["accuracy_top1"]) == record.accuracy.accuracy_top1


@pytest.mark.usefixtures("loaded", "undrawn")
def test_groups_and_memberships_are_explained(tmp_path):
    done = invoke("explain", "--class", "ant", "--output", tmp_path)
    title = "node root: 5 classes in 3 groups; similar: likelihood above v/n = 0.8/5 = 0.1600"
    assert rows(done, title) == [
        ["child", "classes"],
        ["0", "ant, dog, $elk"],
        ["1", "bee"],
        ["2", "[cat]"],
    ]
    # sigmoid((A - 0.16) · 10 · 5 · 0.8); the pair of dog and ant is A[0, 3], not A[3, 0].
    degrees = membership(torch.tensor(LIKELIHOOD, dtype=torch.float64), 0.8)[0]
    assert float(degrees[4]) == pytest.approx(1 / (1 + np.exp(-0.14 * 40)))
    assert rows(done, "node root: membership of class ant") == [
        ["class", "membership"],
        ["$elk", f"{degrees[4]:.4f}", "similar"],
        ["[cat]", f"{degrees[2]:.4f}"],
        ["bee", f"{degrees[1]:.4f}"],
        ["dog", f"{degrees[3]:.4f}", "same group"],
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--node", "0-1"), "unknown node '0-1': did you mean 0-0 or 0?"),
        (("--node", "x"), "unknown node 'x': known: 0, 0-0, root"),
        (("--node", "0"), "node 0: what its groups were made of is not known"),
        (("--class", "bea"), "unknown class of node root 'bea': did you mean bee?"),
    ],
)
def test_a_wrong_name_is_one_line(arguments, message, loaded, tmp_path):
    refuse(tmp_path, message, "explain", *arguments)


def refuse(tmp_path, message, *arguments):
    done = invoke(*arguments, "--output", tmp_path / "out")
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["draw", "explain", "curve"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--dataset is missing"),
        (("--dataset", "emnits"), "unknown data set 'emnits': did you mean emnist"),
        (("--dataset", "emnist", "--set", "x"), "--set 'x': write key=value"),
        (("--dataset", "emnist", "--weights", "best"), "setting weights"),
        (("--dataset", "digits", "--weights", "published"), "were published for digits/trunk"),
        (("--dataset", "digits", "--recipe", "publishd"), "unknown recipe of trunk 'publishd'"),
        (("--dataset", "digits", "--weights-dir", "none"), "no such tree; `python comparisons.py"),
    ],
)
def test_a_wrong_request_is_one_line(command, arguments, message, tmp_path):
    refuse(tmp_path, message, command, *arguments)


def test_a_folder_that_cannot_be_written_to_is_told_before_images_are_routed(loaded, tmp_path):
    (tmp_path / "file").touch()
    loaded.trunk.route = None
    for command in ("draw", "explain", "curve"):
        done = invoke(command, "--output", tmp_path / "file" / "out")
        assert (done.exit_code, done.stdout) == (2, "")
        assert "cannot write" in done.stderr


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The options for the published CIFAR-10 tree, and 40 real images."""
    file = SHARED / "data" / "cifar10_sample.npz"
    if not (file.exists() and (SHARED / "published" / "trunk").exists()):
        pytest.skip("the published trees or their images are not here")
    with np.load(file, allow_pickle=False) as arrays:
        few = {name: arrays[name] for name in arrays.files}
    for name in ("train", "test"):
        labels = few[f"{name}_labels"]
        chosen = [np.flatnonzero(labels == label)[:4] for label in range(10)]
        chosen = random.Random(0).sample(np.concatenate(chosen).tolist(), 40)
        few |= {f"{name}_{part}": few[f"{name}_{part}"][chosen] for part in ("images", "labels")}
    path = tmp_path_factory.mktemp("images") / "few.npz"
    np.savez(path, **few)
    folder = SHARED / "published"
    return [
        *("--dataset", "cifar10", "--data-file", path),
        *("--weights", "published", "--published-dir", folder),
    ]


def test_the_published_tree_is_drawn(published, tmp_path):
    done = invoke("draw", *published, "--output", tmp_path)
    assert done.exit_code == 0, done.output
    table = rows(done, "TRUNK, CIFAR-10: 40 test images")
    assert len(table) == 1 + 14
    assert table[1][:2] + table[1][5:] == ["root", "0", "airplane, ship"]
    assert sum(int(row[2]) for row in table[1:] if row[0] == "root") == 40
    # The images are from the official training set, so the tree has seen them.
    (right,) = re.findall(r"40 test images, ([\d.]+)% right", done.stdout)
    assert float(right) > 75


@pytest.mark.usefixtures("undrawn")
def test_the_published_groups_are_explained(published, tmp_path):
    done = invoke("explain", *published, "--node", "root", "--class", "cat", "--output", tmp_path)
    assert done.exit_code == 0, done.output
    table = rows(done, "node root: membership of class cat")
    assert table[1][0::2] == ["dog", "similar"]
    assert [row[0] for row in table[2:] if len(row) > 2] == []
    wrong = ("--node", "0", "--class", "cat")
    refuse(tmp_path, "unknown class of node 0 'cat'", "explain", *published, *wrong)


def test_nothing_heavy_is_imported():
    heavy = "{'torch', 'matplotlib', 'numpy'}"
    code = f"import sys, cli.trunk_tree; print(*({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
