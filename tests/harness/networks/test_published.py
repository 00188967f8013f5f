"""Published tables and weight files: read as printed, fetched by digest, never unpickled."""

import dataclasses
import hashlib
import pickle

import pytest
import torch
from torch import nn

from harness.errors import RequestError
from harness.networks import published
from harness.networks.published import PublishedFile, fetch_published, published_file, read_state
from harness.reproduction.published import published_cells


def test_the_tables_hold_three_data_sets_of_ten_models():
    cells = published_cells()
    assert len(cells) == 30
    assert {dataset for dataset, _ in cells} == {"emnist", "cifar10", "svhn"}
    assert cells["cifar10", "deit"].accuracy_top1 == "89.48"
    assert cells["emnist", "trunk"].gmacs_thop == "0.04-0.37"


def test_every_weight_file_names_a_commit_and_a_digest():
    for dataset in ("emnist", "cifar10", "svhn"):
        file = published_file(dataset, "resnet")
        assert len(file.commit) == 40
        assert file.commit in file.url
        assert " " not in file.url
    with pytest.raises(RequestError, match="no weights were published for digits/resnet"):
        published_file("digits", "resnet")


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A weight file behind a file: address, with the digest that it should have."""
    folder = tmp_path / "server" / "c0ffee"
    folder.mkdir(parents=True)
    torch.save({"fc.weight": torch.ones(2, 3), "total_ops": torch.zeros(1)}, folder / "w.pt")
    data = (folder / "w.pt").read_bytes()
    monkeypatch.setattr(published, "REPOSITORY_URL", f"file://{tmp_path}/server")
    return PublishedFile(
        dataset="emnist",
        model="net",
        digest_kind="sha256",
        digest=hashlib.sha256(data).hexdigest(),
        bytes=str(len(data)),
        commit="c0ffee",
        path="w.pt",
    )


def test_a_file_is_fetched_once_and_verified(served, tmp_path):
    path = fetch_published(served, tmp_path / "weights", offline=False)
    assert path == tmp_path / "weights" / "published" / "w.pt"
    assert fetch_published(served, tmp_path / "weights", offline=True) == path


def test_the_git_digest_is_that_of_a_blob(served, tmp_path):
    path = fetch_published(served, tmp_path, offline=False)
    data = path.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    git = dataclasses.replace(served, digest_kind="git-sha1", digest=blob)
    published.verify_published(git, path)


def test_what_is_missing_or_wrong_is_named(served, tmp_path):
    with pytest.raises(RequestError, match="--offline.*put file:.* at .*w.pt"):
        fetch_published(served, tmp_path, offline=True)
    gone = dataclasses.replace(served, path="gone.pt")
    with pytest.raises(RequestError, match="no download.*put file:.*gone.pt at"):
        fetch_published(gone, tmp_path, offline=False)
    assert not (tmp_path / "published" / "gone.pt").exists()
    wrong = dataclasses.replace(served, digest="0" * 64)
    with pytest.raises(RequestError, match="published: 0000"):
        fetch_published(wrong, tmp_path, offline=False)


def test_counters_are_left_out_and_wrappers_opened(served, tmp_path):
    path = fetch_published(served, tmp_path, offline=False)
    assert list(read_state(path)) == ["fc.weight"]
    torch.save({"model_state_dict": {"a": torch.ones(1)}, "epoch": 3}, path)
    assert list(read_state(path)) == ["a"]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.ReLU())
        self.head = nn.Linear(2, 3)
        self.register_buffer("passing", torch.ones(2), persistent=False)

    def __setstate__(self, state):
        print("code ran")


def test_a_whole_pickled_module_is_read_without_its_code(tmp_path, capsys):
    path, network = tmp_path / "net.pth", Net()
    torch.save(network, path)
    state = read_state(path)
    assert list(state) == list(network.state_dict())
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())
    assert "code ran" not in capsys.readouterr().out
    # What is neither a module nor a tensor has no state dict.
    network._modules["body"] = Boom()
    torch.save(network, path)
    with pytest.raises(RequestError, match="not a readable state dict"):
        read_state(path)
    assert "code ran" not in capsys.readouterr().out


class Boom:
    def __reduce__(self):
        return print, ("code ran",)


def test_code_in_a_file_never_runs(tmp_path, capsys):
    path = tmp_path / "evil.pt"
    torch.save({"a": Boom()}, path)
    with pytest.raises(RequestError, match="not a readable state dict"):
        read_state(path)
    path.write_bytes(pickle.dumps(Boom()))
    with pytest.raises(RequestError, match="not a readable state dict"):
        read_state(path)
    assert "code ran" not in capsys.readouterr().out


def test_something_else_than_tensors_is_refused(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"a": 3}, path)
    with pytest.raises(RequestError, match="not a state dict"):
        read_state(path)
