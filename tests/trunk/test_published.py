"""Published trees: what is where, fetching by digest, and every way that a folder can be wrong."""

import csv
import hashlib
import json
import shutil

import pytest
import torch

from harness.errors import RequestError
from harness.networks import published as harness_published
from harness.networks.published import FOLDER
from tests import file_host
from tests.trunk.leaves import leaf_paths
from tests.trunk.published_svhn import write_json, write_svhn
from trunk.published import fetch_published_tree, load_published_trunk, published_tree
from trunk.published_maps import read_maps

PLACES = {
    "cifar10": "root=root 0=sg1 1=sg3 2=sg5 3=sg7",
    "emnist": (
        "root=root 0=sg1 0-0=sg2 0-3=sg15 1=sg3 2=sg6 3=sg8 4=sg11 7=sg20 8=sg22 8-0=sg23 9=sg28"
    ),
    "svhn": "root=root 0=sg1 3=sg5",
}


def rows():
    path = FOLDER / "trunk_weights.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def load_svhn(root, classes=10):
    return load_published_trunk(published_tree("svhn"), root, classes)


def places(trunk, mapped):
    pairs = zip(trunk.tree.nodes, mapped, strict=True)
    return " ".join(f"{node.name}={there.file}" for node, there in pairs)


@pytest.fixture
def svhn(tmp_path):
    return write_svhn(tmp_path)


@pytest.mark.parametrize(("dataset", "classes"), [("cifar10", 10), ("emnist", 47), ("svhn", 10)])
def test_node_files_are_put_where_the_maps_have_them(dataset, classes, published_root):
    published = published_tree(dataset)
    nodes = read_maps(published_root / published.folder)
    trunk = load_published_trunk(published, published_root, classes)
    assert places(trunk, nodes) == PLACES[dataset]
    assert trunk.tree.num_classes == classes
    assert not trunk.training
    node = trunk.tree.nodes[-1]
    file = published_root / published.folder / "model_weights" / f"{nodes[-1].file}.pt"
    state = torch.load(file, map_location="cpu", weights_only=True)
    state = state.get("model_state_dict", state)
    assert torch.equal(trunk.networks[node.name].classifier[0].bias, state["classifier.0.bias"])


def test_the_cifar10_tree_in_full(published_root):
    tree = load_published_trunk(published_tree("cifar10"), published_root, 10).tree
    assert tree.root.groups == ((0, 8), (1, 9), (2, 4, 7), (3, 5), (6,))
    layers = [node.network.layers for node in tree.nodes]
    assert layers == ["root", "pair", "pair", "triple", "other"]
    assert [node.volatility for node in tree.nodes] == [0.88, 1.02, 1.02, 1.02, 1.02]
    assert tree.nodes[4].likelihood[0][1] == pytest.approx(0.2245, abs=1e-4)


def test_the_svhn_maps_are_the_published_ones(svhn, tmp_path):
    digests = {row["path"].removeprefix("TRUNK/Datasets/"): row["digest"] for row in rows()}
    maps = sorted(svhn.rglob("*.json"))
    assert len(maps) == 5
    for file in maps:
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        assert found == digests[str(file.relative_to(tmp_path))], file.name


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_svhn_tree_loads(wrapped, tmp_path):
    folder = write_svhn(tmp_path, wrapped)
    trunk = load_svhn(tmp_path)
    assert places(trunk, read_maps(folder)) == PLACES["svhn"]
    assert leaf_paths(trunk.tree)[9] == (0, 3)
    assert leaf_paths(trunk.tree)[5] == (3, 1)
    assert tuple(trunk(torch.rand(2, 3, 32, 32)).shape) == (2, 10)


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def replaced_map(**places):
    def change(folder):
        path = folder / "target_map.json"
        write_json(path, {**json.loads(path.read_text(encoding="utf-8")), **places})

    return change


def torn(name):
    def change(folder):
        path = folder / name
        path.write_bytes(path.read_bytes()[:-200])

    return change


WRONG = {
    "a missing node file": (
        lambda f: (f / "model_weights" / "sg5.pt").unlink(),
        r"sg5\.pt: missing; inputs_to_models\.json has it",
    ),
    "a foreign node file": (
        lambda f: shutil.copy(f / "model_weights" / "sg5.pt", f / "model_weights" / "sg6.pt"),
        r"sg6\.pt: foreign: inputs_to_models\.json does not have it",
    ),
    "another node's file": (
        lambda f: shutil.copy(f / "model_weights" / "sg1.pt", f / "model_weights" / "sg5.pt"),
        r"sg5\.pt: classifier\.0\.weight has shape \(4, 48, 1, 1\), this network wants \(2, 48",
    ),
    "a torn node file": (torn("model_weights/sg1.pt"), r"sg1\.pt: not a readable state dict"),
    "a torn matrix": (torn("model_softmax/sg1_avg_softmax.pt"), "not a readable matrix"),
    "a matrix of another size": (
        lambda f: torch.save(torch.eye(3), f / "model_softmax" / "sg1_avg_softmax.pt"),
        "sg1_avg_softmax.pt: not a matrix of 4×4",
    ),
    "no map": (
        lambda f: (f / "target_map.json").unlink(),
        "target_map.json: not readable: No such",
    ),
    "no JSON": (lambda f: (f / "target_map.json").write_text("{"), "target_map.json: Invalid JSON"),
    "no lists": (
        lambda f: (f / "target_map.json").write_text('{"0": 3}'),
        "target_map.json: 0: Input should be a valid",
    ),
    "classes with a gap": (replaced_map(x=[0, 0, -1]), "its 11 classes are not 0 to 10"),
    "a path with a gap": (replaced_map(**{"4": [-1, 4, -1]}), "class 4: -1 inside its path"),
    "a leaf above a node": (
        replaced_map(**{"6": [0, -1, -1]}),
        "target_map.json: not a tree: the leaf of class 6 is node 0, which has other classes too",
    ),
    "two classes in one leaf": (
        replaced_map(**{"7": [1, -1, -1]}),
        "target_map.json: not a tree: the leaf of class 1 is node 1, which has other classes too",
    ),
    "children with a gap": (
        replaced_map(**{"7": [9, -1, -1]}),
        r"target_map.json: not a tree: the children of node root are \[0, 1, 2, 3, 4, 9\]",
    ),
    "a path below a leaf": (
        replaced_map(**{"7": [5, 0, -1]}),
        "target_map.json: not a tree: class 7 goes on below its leaf",
    ),
    "classes exchanged": (
        replaced_map(**{"4": [0, 1, -1], "6": [4, -1, -1]}),
        r"root_supergroups\.json: its groups are not those of target_map\.json",
    ),
    "a name too many": (
        lambda f: edit(f / "model_weights" / "inputs_to_models.json", "{", '{"sg99": [[], 1],'),
        "inputs_to_models.json: 14 nodes and leaves, target_map.json has 13",
    ),
    "names out of order": (
        lambda f: edit(
            f / "model_weights" / "inputs_to_models.json",
            '"sg2": [\n        [],\n        1',
            '"sg2": [\n        [],\n        2',
        ),
        "inputs_to_models.json: sg2 has 2 outputs, target_map.json gives 0-0 1",
    ),
    "a name that leads elsewhere": (
        lambda f: edit(f / "model_weights" / "inputs_to_models.json", "sg1", "../sg1"),
        r"inputs_to_models.json: \.\./sg1.*: String should match pattern",
    ),
    "no shape": (
        lambda f: edit(f / "model_weights" / "inputs_to_models.json", "3,\n            32,", "3,"),
        r"root: \[3, 32\] is no input shape C, H, W",
    ),
    "maps of another size": (
        lambda f: edit(f / "model_weights" / "inputs_to_models.json", "40", "41"),
        r"node 0: its network takes maps of \(32, 41, 40\), its parent's are \(32, 40, 40\)",
    ),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_folder_is_named_in_one_line(change, message, svhn, tmp_path):
    change(svhn)
    with pytest.raises(RequestError, match=message) as caught:
        load_svhn(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(svhn) in str(caught.value)


def test_what_does_not_fit_the_request_is_named(svhn, tmp_path):
    with pytest.raises(RequestError, match="a tree of 10 classes, the data has 47"):
        load_svhn(tmp_path, classes=47)
    with pytest.raises(RequestError, match="elsewhere/svhn/mobilenet/0.7: no such folder; a publ"):
        load_svhn(tmp_path / "elsewhere")
    with pytest.raises(RequestError, match="for digits/trunk; there are some for"):
        published_tree("digits")


class Boom:
    def __reduce__(self):
        return print, ("code ran",)


@pytest.mark.parametrize("name", ["model_weights/sg1.pt", "model_softmax/sg1_avg_softmax.pt"])
def test_code_in_a_file_never_runs(name, svhn, tmp_path, capsys):
    torch.save({"a": Boom()}, svhn / name)
    with pytest.raises(RequestError, match="not a readable"):
        load_svhn(tmp_path)
    assert "code ran" not in capsys.readouterr().out


def test_every_published_file_has_a_digest_and_a_commit():
    kinds = [(row["dataset"], row["backbone"], row["volatility"]) for row in rows()]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        ("emnist", "mobilenet", "1.2"): 38,
        ("cifar10", "vgg", "1.02"): 17,
        ("svhn", "mobilenet", "0.7"): 11,
    }
    assert all(len(row["digest"]) == 64 and len(row["commit"]) == 40 for row in rows())
    assert not any(row["path"].endswith(".pkl") for row in rows())


def test_a_tree_is_fetched_file_by_file_and_verified(published_root, tmp_path, monkeypatch):
    published = published_tree("cifar10")
    files = [path for path in (published_root / "cifar10").rglob("*") if path.is_file()]
    with file_host.running() as host:
        host.files = {path.name: path.read_bytes() for path in files}
        monkeypatch.setattr(harness_published, "REPOSITORY_URL", host.address("ok"))
        root = fetch_published_tree(published, tmp_path / "weights", offline=False)
    assert load_published_trunk(published, root, 10).tree.num_classes == 10
    file = root / published.folder / "model_weights" / "sg5.pt"
    file.write_bytes(b"other")
    with pytest.raises(RequestError, match=r"sg5\.pt: its digest is sha256"):
        fetch_published_tree(published, tmp_path / "weights", offline=True)
    with pytest.raises(RequestError, match=r"emnist/trunk: --offline, and they are not there; put"):
        fetch_published_tree(published_tree("emnist"), tmp_path / "weights", offline=True)
