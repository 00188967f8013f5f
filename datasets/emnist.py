"""EMNIST balanced: 28x28 grey handwritten digits and letters, 47 classes (Cohen et al., 2017)."""

from __future__ import annotations

import gzip
import hashlib
import zipfile
from pathlib import Path

from harness.spec import DatasetSpec, OfficialFile, Splits

ARCHIVE = OfficialFile(
    path="EMNIST/raw/gzip.zip",
    url="https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
    md5="58c8d27c78d21e728a6bc7b3cc06412e",
    bytes=561_753_746,
)


def load_splits(root: Path) -> Splits:
    """Return the balanced split, 112,800 training and 18,800 test images of 28×28.

    The images lie on their side, transposed, as the official files and torchvision hold them. They
    are read out of the archive, which is not unpacked: what torchvision has unpacked beside it is
    not looked at, because no official digests of those files are known.
    """
    import numpy as np

    path = root / ARCHIVE.path
    with path.open("rb") as file:
        if hashlib.file_digest(file, "md5").hexdigest() != ARCHIVE.md5:
            raise RuntimeError(f"{path} is not the official file")
        with zipfile.ZipFile(file) as archive:

            def read(name: str, header_bytes: int) -> np.ndarray:
                content = gzip.decompress(archive.read(f"gzip/emnist-balanced-{name}-ubyte.gz"))
                return np.frombuffer(bytearray(content), dtype=np.uint8, offset=header_bytes)

            return Splits(
                train_images=read("train-images-idx3", 16).reshape(-1, 28, 28),
                train_labels=read("train-labels-idx1", 8),
                test_images=read("test-images-idx3", 16).reshape(-1, 28, 28),
                test_labels=read("test-labels-idx1", 8),
            )


SPEC = DatasetSpec(
    label="EMNIST",
    classes=tuple("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"),
    channels=1,
    image_size=28,
    load_splits=load_splits,
    files=(ARCHIVE,),
)
