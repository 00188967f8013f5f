"""The data sets that torchvision reads, on small files in the official formats."""

import gzip
import hashlib
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import CIFAR10, EMNIST, SVHN

from datasets import cifar10, emnist, fashion_mnist, svhn

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def idx(array):
    """Return an array as the bytes of an idx file (magic, lengths, values; big-endian)."""
    lengths = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + lengths + array.tobytes()


def images(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_emnist(raw):
    raw.mkdir(parents=True)
    for part, count in (("train", 3), ("test", 2)):
        prefix = f"emnist-balanced-{part}"
        labels = np.array([46, 0, 5], dtype=np.uint8)[:count]
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(idx(images(count, count, 28, 28)))
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(labels))


def test_emnist_reads_the_balanced_split_as_it_lies(tmp_path):
    write_emnist(tmp_path / "EMNIST" / "raw")
    splits = emnist.load_splits(tmp_path, False)
    assert np.array_equal(splits.train_images, images(3, 3, 28, 28))
    assert splits.train_labels.tolist() == [46, 0, 5]
    assert np.array_equal(splits.test_images, images(2, 2, 28, 28))
    assert splits.test_labels.tolist() == [46, 0]


def test_emnist_unpacks_an_archive_without_the_network(tmp_path, monkeypatch):
    write_emnist(tmp_path / "unpacked")
    archive = tmp_path / "EMNIST" / "raw" / "gzip.zip"
    archive.parent.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as container:
        for path in (tmp_path / "unpacked").iterdir():
            container.writestr(f"gzip/{path.name}.gz", gzip.compress(path.read_bytes()))
    monkeypatch.setattr(EMNIST, "md5", hashlib.md5(archive.read_bytes()).hexdigest())
    monkeypatch.setattr("urllib.request.urlopen", None)
    assert emnist.load_splits(tmp_path, False).train_labels.tolist() == [46, 0, 5]


def write_cifar10(root, monkeypatch):
    """Write two-image batches, and have torchvision take their digests for the official ones."""
    folder = root / CIFAR10.base_folder
    folder.mkdir(parents=True)
    digests = {}
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    for i, name in enumerate(names):
        flat = images(i, 2, 3, 32, 32).reshape(2, -1)
        digests[name] = write_pickle(folder / name, {"data": flat, "labels": [i, 9]})
    meta = write_pickle(folder / "batches.meta", {"label_names": list(cifar10.SPEC.classes)})
    monkeypatch.setattr(CIFAR10, "train_list", [[name, digests[name]] for name in names[:5]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", digests["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": meta})
    return folder


def write_pickle(path, content):
    data = pickle.dumps(content)
    path.write_bytes(data)
    return hashlib.md5(data).hexdigest()


def test_cifar10_puts_channels_last_and_batches_in_order(tmp_path, monkeypatch):
    write_cifar10(tmp_path, monkeypatch)
    splits = cifar10.load_splits(tmp_path, False)
    assert splits.train_images.shape == (10, 32, 32, 3)
    assert splits.train_labels.tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]
    assert splits.train_images[2, 7, 11, 2] == images(1, 2, 3, 32, 32)[0, 2, 7, 11]
    assert np.array_equal(splits.test_images, images(5, 2, 3, 32, 32).transpose(0, 2, 3, 1))
    assert splits.test_labels.tolist() == [5, 9]


def test_cifar10_opens_no_file_but_the_official_one(tmp_path, monkeypatch):
    folder = write_cifar10(tmp_path, monkeypatch)
    with (folder / "data_batch_3").open("ab") as file:
        file.write(b"!")
    with pytest.raises(RuntimeError, match="corrupted"):
        cifar10.load_splits(tmp_path, False)


def test_cifar10_unpacks_an_archive_without_the_network(tmp_path, monkeypatch):
    folder = write_cifar10(tmp_path / "elsewhere", monkeypatch)
    archive = tmp_path / CIFAR10.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, CIFAR10.base_folder)
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    monkeypatch.setattr("urllib.request.urlopen", None)
    assert len(cifar10.load_splits(tmp_path, False).train_images) == 10


def test_svhn_turns_images_upright_and_label_10_into_0(tmp_path, monkeypatch):
    from scipy.io import savemat

    files = {}
    for seed, part in enumerate(("train", "test")):
        path = tmp_path / f"{part}_32x32.mat"
        savemat(path, {"X": images(seed, 32, 32, 3, 2), "y": np.array([[10], [7]], np.uint8)})
        files[part] = ["no address", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(SVHN, "split_list", files)
    splits = svhn.load_splits(tmp_path, False)
    assert np.array_equal(splits.train_images, images(0, 32, 32, 3, 2).transpose(3, 0, 1, 2))
    assert np.array_equal(splits.test_images, images(1, 32, 32, 3, 2).transpose(3, 0, 1, 2))
    assert splits.train_labels.tolist() == [0, 7]


@pytest.mark.parametrize("module", [emnist, cifar10, svhn, fashion_mnist])
def test_an_empty_folder_raises_what_the_harness_expects(module, tmp_path):
    with pytest.raises((OSError, RuntimeError)):
        module.load_splits(tmp_path, False)


def debian_copy(folder):
    """Copy Debian's package into `folder`, or skip the test without it."""
    if not DEBIAN.is_dir():
        pytest.skip("no package dataset-fashion-mnist")
    folder.mkdir(parents=True)
    for path in DEBIAN.glob("*.gz"):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_debians_fashion_mnist_is_the_official_one(tmp_path):
    packaged = fashion_mnist.load_splits(debian_copy(tmp_path / "packaged"), False)
    raw = debian_copy(tmp_path / "FashionMNIST" / "raw")
    # Debian took name and time out of the headers; torchvision checks the MD5 of the originals.
    for name, seconds in (("train", 1504176606), ("t10k", 1504176627)):
        for path in raw.glob(f"{name}-*.gz"):
            header = b"\x1f\x8b\x08\x08" + seconds.to_bytes(4, "little") + b"\x00\x03"
            path.write_bytes(header + path.stem.encode() + b"\x00" + path.read_bytes()[10:])
    official = fashion_mnist.load_splits(tmp_path, False)
    for part in ("train_images", "train_labels", "test_images", "test_labels"):
        assert np.array_equal(getattr(packaged, part), getattr(official, part))
    assert packaged.train_images.shape == (60000, 28, 28)
    assert np.bincount(packaged.test_labels).tolist() == [1000] * 10
    scaled = packaged.train_images / 255
    assert round(scaled.mean(), 4) == fashion_mnist.SPEC.mean[0]
    assert round(scaled.std(), 4) == fashion_mnist.SPEC.std[0]


def test_fashion_mnist_refuses_other_contents(tmp_path):
    folder = debian_copy(tmp_path / "packaged")
    labels = folder / "t10k-labels-idx1-ubyte.gz"
    labels.write_bytes(gzip.compress(idx(np.zeros(10000, dtype=np.uint8))))
    with pytest.raises(RuntimeError, match=r"t10k-labels-idx1-ubyte\.gz is not the official file"):
        fashion_mnist.load_splits(folder, False)


def test_fashion_mnist_says_which_file_is_damaged(tmp_path):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(1000))[:20])
    with pytest.raises(RuntimeError, match=r"train-images-idx3-ubyte\.gz is damaged"):
        fashion_mnist.load_splits(tmp_path, False)
