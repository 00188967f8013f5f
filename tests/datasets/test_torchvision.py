"""Official images: read from the archives as published, and from nothing that is not proven."""

import gzip
import importlib
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import CIFAR10, EMNIST, SVHN, FashionMNIST

from datasets import fashion_mnist
from tests import archives

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
PARTS = ("train_images", "train_labels", "test_images", "test_labels")


@pytest.fixture
def official(monkeypatch):
    """Return small images, and the contents of a data set's file that takes them as official."""
    for name in ("tgz_md5", "train_list", "test_list", "meta"):
        monkeypatch.setattr(CIFAR10, name, getattr(CIFAR10, name))
    monkeypatch.setattr(SVHN, "split_list", SVHN.split_list)

    def make(name):
        source = archives.ROOT / "datasets" / f"{name}.py"
        splits = archives.small_splits(name)
        space = {"__name__": name}
        exec(source.read_text() + archives.stand_in(name, splits), space)
        return splits, space

    return make


def put_files(root, name, splits, space):
    """Put the official files where they belong."""
    contents = archives.official_files(name, splits)
    for file in space["SPEC"].files:
        path = root / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents[path.name])


def assert_equal(found, expected):
    for part in PARTS:
        assert np.array_equal(getattr(found, part), getattr(expected, part)), part


@pytest.mark.parametrize("name", archives.NAMES)
def test_the_official_files_are_read(official, tmp_path, name):
    splits, space = official(name)
    put_files(tmp_path, name, splits, space)
    for _ in range(2):
        assert_equal(space["load_splits"](tmp_path), splits)


@pytest.mark.parametrize("name", archives.NAMES)
def test_what_is_not_there_or_altered_is_refused(official, tmp_path, name):
    splits, space = official(name)
    with pytest.raises((OSError, RuntimeError)):
        space["load_splits"](tmp_path)
    put_files(tmp_path, name, splits, space)
    for file in space["SPEC"].files:
        path = tmp_path / file.path
        content = path.read_bytes()
        for wrong in (content[:-20], content[:-20] + bytes(20)):
            path.write_bytes(wrong)
            with pytest.raises(RuntimeError):
                space["load_splits"](tmp_path)
        path.write_bytes(content)


def test_digests_and_addresses_are_those_of_torchvision():
    files = {
        file.url: file.md5
        for name in archives.NAMES
        for file in importlib.import_module(f"datasets.{name}").SPEC.files
    }
    known = {CIFAR10.url: CIFAR10.tgz_md5, EMNIST.url: EMNIST.md5}
    known |= {url: md5 for url, _, md5 in (SVHN.split_list[part] for part in ("train", "test"))}
    known |= {FashionMNIST.mirrors[0] + name: md5 for name, md5 in FashionMNIST.resources}
    assert files == known


def test_unpacked_emnist_files_prove_nothing(official, tmp_path):
    splits, space = official("emnist")
    raw = tmp_path / "EMNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 470), ("test", 47)):
        labels = np.arange(count, dtype=np.uint8) % 47
        black = np.zeros((count, 28, 28), dtype=np.uint8)
        for kind, array in (("images-idx3", black), ("labels-idx1", labels)):
            path = raw / f"emnist-balanced-{part}-{kind}-ubyte"
            path.write_bytes(archives.idx(array))
    with pytest.raises(OSError, match=r"gzip\.zip"):
        space["load_splits"](tmp_path)
    put_files(tmp_path, "emnist", splits, space)
    assert_equal(space["load_splits"](tmp_path), splits)


def test_cifar10_batches_without_their_archive_are_read_and_verified(official, tmp_path):
    splits, space = official("cifar10")
    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()
    for name, content in archives.cifar10_batches(splits).items():
        (folder / name).write_bytes(content)
    assert_equal(space["load_splits"](tmp_path), splits)
    with (folder / "data_batch_3").open("ab") as file:
        file.write(b"!")
    with pytest.raises(RuntimeError, match="corrupted"):
        space["load_splits"](tmp_path)


def test_cifar10_unpacked_to_the_middle_is_unpacked_again(official, tmp_path):
    splits, space = official("cifar10")
    put_files(tmp_path, "cifar10", splits, space)
    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()
    for name, content in list(archives.cifar10_batches(splits).items())[:3]:
        (folder / name).write_bytes(content[: len(content) // 2])
    assert_equal(space["load_splits"](tmp_path), splits)


def test_fashion_mnist_is_read_as_unpacked_files_too(official, tmp_path):
    splits, space = official("fashion_mnist")
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in archives.fashion_mnist_files(splits).items():
        (raw / name.removesuffix(".gz")).write_bytes(gzip.decompress(content))
    assert_equal(space["load_splits"](tmp_path), splits)
    (raw / "t10k-labels-idx1-ubyte").write_bytes(archives.idx(np.zeros(10, dtype=np.uint8)))
    with pytest.raises(RuntimeError, match="t10k-labels-idx1-ubyte is not the official file"):
        space["load_splits"](tmp_path)


def debian_copy(folder):
    """Copy Debian's package into `folder`, or skip the test without it."""
    if not DEBIAN.is_dir():
        pytest.skip("no package dataset-fashion-mnist")
    folder.mkdir(parents=True)
    for path in DEBIAN.glob("*.gz"):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_debians_fashion_mnist_is_the_official_one(tmp_path):
    packaged = fashion_mnist.load_splits(debian_copy(tmp_path / "packaged"))
    assert packaged.train_images.shape == (60000, 28, 28)
    assert np.bincount(packaged.test_labels).tolist() == [1000] * 10
    scaled = packaged.train_images / 255
    assert round(scaled.mean(), 4) == fashion_mnist.SPEC.mean[0]
    assert round(scaled.std(), 4) == fashion_mnist.SPEC.std[0]


def test_fashion_mnist_refuses_other_contents(tmp_path):
    folder = debian_copy(tmp_path / "packaged")
    labels = folder / "t10k-labels-idx1-ubyte.gz"
    labels.write_bytes(gzip.compress(archives.idx(np.zeros(10000, dtype=np.uint8))))
    with pytest.raises(RuntimeError, match=r"t10k-labels-idx1-ubyte\.gz is not the official file"):
        fashion_mnist.load_splits(folder)


def test_fashion_mnist_says_which_file_is_damaged(tmp_path):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(1000))[:20])
    with pytest.raises(RuntimeError, match=r"train-images-idx3-ubyte\.gz is damaged"):
        fashion_mnist.load_splits(tmp_path)
