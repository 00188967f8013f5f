"""Small data sets in the formats of the official files, and what makes the project take them."""

import gzip
import hashlib
import importlib
import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from scipy.io import savemat

from harness.spec import Splits

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("emnist", "cifar10", "svhn", "fashion_mnist")


def small_splits(name):
    """Return two training images and one test image of each class."""
    spec = importlib.import_module(f"datasets.{name}").SPEC
    shape = (spec.image_size, spec.image_size) + ((3,) if spec.channels == 3 else ())
    labels = np.arange(len(spec.classes), dtype=np.uint8)
    generator = np.random.default_rng(0)
    train, test = (
        generator.integers(0, 256, (count * len(labels), *shape), dtype=np.uint8)
        for count in (2, 1)
    )
    return Splits(
        train_images=train, train_labels=np.tile(labels, 2), test_images=test, test_labels=labels
    )


def idx(array):
    """Return an array as the bytes of an idx file (magic, lengths, values; big-endian)."""
    lengths = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + lengths + array.tobytes()


def emnist_files(splits):
    """Return the archive by name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for part, (images, labels) in splits.parts.items():
            for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
                name = f"gzip/emnist-balanced-{part}-{kind}-ubyte.gz"
                archive.writestr(zipfile.ZipInfo(name), gzip.compress(idx(array), mtime=0))
    return {"gzip.zip": buffer.getvalue()}


def cifar10_batches(splits):
    """Return the pickles by name: five training batches, the test batch and the names."""

    def batch(images, labels):
        flat = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        return pickle.dumps({"data": flat, "labels": labels.tolist()})

    images, labels = splits.train_images, splits.train_labels
    size = len(labels) // 5
    batches = {
        f"data_batch_{i + 1}": batch(*(a[i * size : (i + 1) * size] for a in (images, labels)))
        for i in range(5)
    }
    names = importlib.import_module("datasets.cifar10").SPEC.classes
    return {
        **batches,
        "test_batch": batch(splits.test_images, splits.test_labels),
        "batches.meta": pickle.dumps({"label_names": list(names)}),
    }


def cifar10_files(splits):
    """Return the archive by name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in cifar10_batches(splits).items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return {"cifar-10-python.tar.gz": gzip.compress(buffer.getvalue(), mtime=0)}


def svhn_files(splits):
    """Return the two files by name; the digit 0 is labelled 10."""
    files = {}
    for part, (images, labels) in splits.parts.items():
        buffer = io.BytesIO()
        tens = np.where(labels == 0, 10, labels)[:, None].astype(np.uint8)
        savemat(buffer, {"X": images.transpose(1, 2, 3, 0), "y": tens})
        files[f"{part}_32x32.mat"] = buffer.getvalue()
    return files


def fashion_mnist_files(splits):
    """Return the four files by name."""
    arrays = {}
    for part, (images, labels) in zip(("train", "t10k"), splits.parts.values(), strict=True):
        arrays |= {f"{part}-images-idx3-ubyte": images, f"{part}-labels-idx1-ubyte": labels}
    return {f"{name}.gz": gzip.compress(idx(array), mtime=0) for name, array in arrays.items()}


def official_files(name, splits):
    """Return the files of a data set by name."""
    return globals()[f"{name}_files"](splits)


def stand_in(name, splits, address=""):
    """Return code that makes `datasets/<name>.py` take these images for the official ones.

    It belongs at the end of that file, or is run in its namespace.
    """
    contents = official_files(name, splits)
    lines = ["import dataclasses"]
    lines.append(f"_found = {[(file, _md5(data), len(data)) for file, data in contents.items()]!r}")
    lines.append("_known = {file.path.rpartition('/')[2]: file for file in SPEC.files}")
    lines.append(
        "FILES = tuple(dataclasses.replace(_known[name], md5=md5, bytes=size, "
        f"url=f'{address}/{{name}}') for name, md5, size in _found)"
    )
    lines.append("ARCHIVE = FILES[0]")
    lines.append("SPEC = dataclasses.replace(SPEC, files=FILES)")
    if name == "fashion_mnist":
        digests = {
            file.removesuffix(".gz"): hashlib.sha256(gzip.decompress(data)).hexdigest()
            for file, data in contents.items()
        }
        lines.append(f"UNPACKED_SHA256 = {digests!r}")
    if name == "cifar10":
        batches = [[batch, _md5(data)] for batch, data in cifar10_batches(splits).items()]
        lines.append("from torchvision.datasets import CIFAR10")
        lines.append("CIFAR10.tgz_md5 = ARCHIVE.md5")
        lines.append(f"CIFAR10.train_list, CIFAR10.test_list = {batches[:5]!r}, {batches[5:6]!r}")
        lines.append(f"CIFAR10.meta = CIFAR10.meta | {{'md5': {batches[6][1]!r}}}")
    if name == "svhn":
        lines.append("from torchvision.datasets import SVHN")
        lines.append(
            "SVHN.split_list = {name.partition('_')[0]: ['', name, md5] for name, md5, _ in _found}"
        )
    return "\n".join(lines) + "\n"


def _md5(data):
    return hashlib.md5(data).hexdigest()
