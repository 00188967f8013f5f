"""Published tables and weight files: read as printed, fetched by digest, never unpickled."""

import dataclasses
import hashlib
import io
import pickle

import pytest
import torch
from torch import nn

from harness.errors import NotPublishedError, RequestError
from harness.networks import published
from harness.networks.published import PublishedFile, fetch_published, published_file, read_state
from harness.reproduction.published import published_cells
from tests import file_host


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


def test_what_was_never_published_is_named_with_what_was():
    for dataset, model in [("emnist", "resnet"), ("svhn", "trunk"), ("cifar10", "vgg_pruned")]:
        published.require_published(dataset, model)
    some = "there are some for: cifar10, emnist, svhn"
    for check in (published.require_published, published_file):
        with pytest.raises(NotPublishedError, match=f"were published for digits/resnet; {some}"):
            check("digits", "resnet")
    models = (
        "convnext, deit, dinov2, mobilenet, resnet, resnet_quantized, trunk, vgg, vgg_pruned, vit"
    )
    with pytest.raises(
        NotPublishedError, match=f"emnist/efficientnet; for emnist there are: {models}"
    ):
        published.require_published("emnist", "efficientnet")


@pytest.fixture
def host():
    with file_host.running() as host:
        yield host


@pytest.fixture
def served(host, monkeypatch):
    """A weight file at a host, with the digest that it should have."""
    buffer = io.BytesIO()
    torch.save({"fc.weight": torch.ones(2, 3), "total_ops": torch.zeros(1)}, buffer)
    data = host.files["w.pt"] = buffer.getvalue()
    monkeypatch.setattr(published, "REPOSITORY_URL", host.address("ok"))
    return PublishedFile(
        dataset="emnist",
        model="net",
        digest_kind="sha256",
        digest=hashlib.sha256(data).hexdigest(),
        bytes=str(len(data)),
        commit="c0ffee",
        path="sub folder/w.pt",
    )


def test_a_file_is_fetched_once_and_verified(host, served, tmp_path):
    path = fetch_published(served, tmp_path / "weights", offline=False)
    assert path == tmp_path / "weights" / "published" / "sub folder" / "w.pt"
    assert fetch_published(served, tmp_path / "weights", offline=True) == path
    assert fetch_published(served, tmp_path / "weights", offline=False) == path
    assert [address for address, _ in host.requests] == ["/ok/c0ffee/sub%20folder/w.pt"]


def test_the_git_digest_is_that_of_a_blob(served, tmp_path):
    path = fetch_published(served, tmp_path, offline=False)
    data = path.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    git = dataclasses.replace(served, digest_kind="git-sha1", digest=blob)
    published.verify_published(git, path)


def test_what_is_missing_or_wrong_is_named(served, tmp_path):
    with pytest.raises(RequestError, match="--offline.*put http:.* at .*w.pt"):
        fetch_published(served, tmp_path, offline=True)
    with pytest.raises(RequestError, match="--published-dir: .*w.pt is not there"):
        fetch_published(served, tmp_path, offline=False, folder=tmp_path)
    wrong = dataclasses.replace(served, digest="0" * 64)
    with pytest.raises(RequestError, match="another file.*put http:.* at .*w.pt"):
        fetch_published(wrong, tmp_path, offline=False)
    assert not (tmp_path / "published" / "sub folder" / "w.pt").exists()


def test_a_pointer_in_a_folder_of_ones_own_is_named_and_kept(served, tmp_path):
    path = tmp_path / served.path
    path.parent.mkdir()
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(RequestError, match="w.pt: this is a Git LFS pointer"):
        fetch_published(served, tmp_path, offline=False, folder=tmp_path)
    assert path.exists()
    path.write_text("something else")
    with pytest.raises(RequestError, match="its digest is sha256:.*, published: sha256:"):
        fetch_published(served, tmp_path, offline=False, folder=tmp_path)


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
