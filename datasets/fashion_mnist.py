"""Fashion-MNIST: 28x28 grey photographs of 10 kinds of clothing (Xiao et al., 2017)."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from harness.spec import DatasetSpec, Splits

if TYPE_CHECKING:
    import numpy as np

# SHA-256 of the unpacked official files. Debian's package holds the same ones, but its .gz
# files differ from the official ones in their headers, so that torchvision's MD5 rejects them.
UNPACKED_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def load_splits(root: Path, download: bool) -> Splits:
    """Return 60,000 training and 10,000 test images of 28×28.

    `root` either holds the four .gz files themselves, as Debian's package
    `dataset-fashion-mnist` lays them out, or `FashionMNIST/raw` as torchvision does. There,
    .gz files put by hand are unpacked without the network.

    Raises:
        OSError: The images are not there and cannot be fetched.
        RuntimeError: Likewise, or a file is not the official one.
    """
    if (root / "train-images-idx3-ubyte.gz").is_file():
        return _load_packaged(root)
    from torchvision.datasets import FashionMNIST
    from torchvision.datasets.utils import check_integrity

    raw = root / "FashionMNIST" / "raw"
    have_all = all(check_integrity(raw / name, md5) for name, md5 in FashionMNIST.resources)
    train = FashionMNIST(root, train=True, download=download or have_all)
    test = FashionMNIST(root, train=False)
    return Splits(
        train_images=train.data.numpy(),
        train_labels=train.targets.numpy(),
        test_images=test.data.numpy(),
        test_labels=test.targets.numpy(),
    )


def _load_packaged(folder: Path) -> Splits:
    """Return the splits out of the four .gz files in `folder`, each verified."""
    return Splits(
        train_images=_read_bytes(folder, "train-images-idx3-ubyte", 16).reshape(-1, 28, 28),
        train_labels=_read_bytes(folder, "train-labels-idx1-ubyte", 8),
        test_images=_read_bytes(folder, "t10k-images-idx3-ubyte", 16).reshape(-1, 28, 28),
        test_labels=_read_bytes(folder, "t10k-labels-idx1-ubyte", 8),
    )


def _read_bytes(folder: Path, name: str, header_bytes: int) -> np.ndarray:
    """Return what follows the header of an idx file, uint8, in one dimension."""
    import numpy as np

    path = folder / f"{name}.gz"
    try:
        content = bytearray(gzip.decompress(path.read_bytes()))
    except (EOFError, zlib.error) as error:
        raise RuntimeError(f"{path} is damaged") from error
    if hashlib.sha256(content).hexdigest() != UNPACKED_SHA256[name]:
        raise RuntimeError(f"{path} is not the official file")
    return np.frombuffer(content, dtype=np.uint8, offset=header_bytes)


SPEC = DatasetSpec(
    label="Fashion-MNIST",
    classes=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    channels=1,
    image_size=28,
    load_splits=load_splits,
    files=(
        "the four .gz files of https://github.com/zalandoresearch/fashion-mnist into "
        "FashionMNIST/raw below it (or install Debian's package dataset-fashion-mnist and give "
        "--data-dir /usr/share/datasets/fashion-mnist)"
    ),
    mean=(0.2860,),
    std=(0.3530,),
)
