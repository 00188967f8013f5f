"""EMNIST balanced: 28x28 grey handwritten digits and letters, 47 classes (Cohen et al., 2017)."""

from __future__ import annotations

from pathlib import Path

from harness.spec import DatasetSpec, Splits


def load_splits(root: Path, download: bool) -> Splits:
    """Return the balanced split, 112,800 training and 18,800 test images of 28×28.

    The images lie on their side, transposed, as the official files and torchvision hold them.
    An archive `EMNIST/raw/gzip.zip` put there by hand is unpacked without the network.

    Raises:
        OSError: The images are not there and cannot be fetched.
        RuntimeError: Likewise, or a file is damaged.
    """
    from torchvision.datasets import EMNIST
    from torchvision.datasets.utils import check_integrity

    unpack = download or check_integrity(root / "EMNIST" / "raw" / "gzip.zip", EMNIST.md5)
    train = EMNIST(root, split="balanced", train=True, download=unpack)
    test = EMNIST(root, split="balanced", train=False)
    return Splits(
        train_images=train.data.numpy(),
        train_labels=train.targets.numpy(),
        test_images=test.data.numpy(),
        test_labels=test.targets.numpy(),
    )


SPEC = DatasetSpec(
    label="EMNIST",
    classes=tuple("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"),
    channels=1,
    image_size=28,
    load_splits=load_splits,
    files="gzip.zip of https://biometrics.nist.gov/cs_links/EMNIST/ into EMNIST/raw below it",
)
