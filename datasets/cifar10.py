"""CIFAR-10: 32x32 colour photographs of 10 kinds of things (Krizhevsky, 2009)."""

from __future__ import annotations

from pathlib import Path

from harness.spec import DatasetSpec, Splits


def load_splits(root: Path, download: bool) -> Splits:
    """Return 50,000 training and 10,000 test images of 32×32×3.

    The official batches are pickles: torchvision opens them only when their MD5 is the
    official one. An archive put into `root` by hand is unpacked without the network.

    Raises:
        OSError: The images are not there and cannot be fetched.
        RuntimeError: Likewise, or a file is not the official one.
    """
    import numpy as np
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_integrity

    unpack = download or check_integrity(root / CIFAR10.filename, CIFAR10.tgz_md5)
    train = CIFAR10(root, train=True, download=unpack)
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
    files="cifar-10-python.tar.gz of https://www.cs.toronto.edu/~kriz/ into it",
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2023, 0.1994, 0.2010),
)
