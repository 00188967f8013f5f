"""CIFAR-10: 32x32 colour photographs of 10 kinds of things (Krizhevsky, 2009)."""

from __future__ import annotations

from pathlib import Path

from harness.spec import DatasetSpec, OfficialFile, Splits

ARCHIVE = OfficialFile(
    path="cifar-10-python.tar.gz",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    md5="c58f30108f718f92721af3b95e74349a",
    bytes=170_498_071,
)


def load_splits(root: Path) -> Splits:
    """Return 50,000 training and 10,000 test images of 32×32×3.

    The official batches are pickles: torchvision opens them only when their MD5 is the official
    one. Where they are not unpacked, or not to the end, the archive is unpacked (186 MB more).
    """
    import numpy as np
    from filelock import FileLock
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_integrity

    try:
        train = CIFAR10(root, train=True)
    except RuntimeError:
        # Without the official archive torchvision would fetch it in its own way.
        if not check_integrity(root / ARCHIVE.path, ARCHIVE.md5):
            raise
        with FileLock(root / f".{ARCHIVE.path}.lock"):
            train = CIFAR10(root, train=True, download=True)
    test = CIFAR10(root, train=False)
    return Splits(
        train_images=train.data,
        train_labels=np.asarray(train.targets),
        test_images=test.data,
        test_labels=np.asarray(test.targets),
    )


SPEC = DatasetSpec(
    label="CIFAR-10",
    classes=(
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ),
    channels=3,
    image_size=32,
    load_splits=load_splits,
    files=(ARCHIVE,),
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2023, 0.1994, 0.2010),
)
