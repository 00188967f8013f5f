"""Fashion-MNIST: 28x28 grey photographs of 10 kinds of clothing (Xiao et al., 2017)."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from harness.spec import DatasetSpec, OfficialFile, Splits

if TYPE_CHECKING:
    import numpy as np

FOLDER = "FashionMNIST/raw"
FILES = tuple(
    OfficialFile(
        path=f"{FOLDER}/{name}",
        url=f"http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/{name}",
        md5=md5,
        bytes=size,
    )
    for name, md5, size in (
        ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d", 26_421_880),
        ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe", 29_515),
        ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79", 4_422_102),
        ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310", 5_148),
    )
)
# SHA-256 of the unpacked official files. Debian's package holds the same ones in .gz files whose
# headers differ.
UNPACKED_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def load_splits(root: Path) -> Splits:
    """Return 60,000 training and 10,000 test images of 28×28.

    The four files lie in `root` itself, as Debian's package `dataset-fashion-mnist` lays them out,
    or in `FashionMNIST/raw`, as torchvision does; as .gz or unpacked. Each is verified.
    """
    packaged = (root / "train-images-idx3-ubyte.gz").is_file()
    folder = root if packaged else root / FOLDER
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
    if not path.exists() and (folder / name).exists():
        path = folder / name
    content = path.read_bytes()
    try:
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (EOFError, OSError, zlib.error) as error:
        raise RuntimeError(f"{path} is damaged") from error
    if hashlib.sha256(content).hexdigest() != UNPACKED_SHA256[name]:
        raise RuntimeError(f"{path} is not the official file")
    return np.frombuffer(bytearray(content), dtype=np.uint8, offset=header_bytes)


SPEC = DatasetSpec(
    label="Fashion-MNIST",
    classes=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    channels=1,
    image_size=28,
    load_splits=load_splits,
    files=FILES,
    advice=(
        "Debian's package dataset-fashion-mnist has the images too, for --data-dir "
        "/usr/share/datasets/fashion-mnist"
    ),
    mean=(0.2860,),
    std=(0.3530,),
)
