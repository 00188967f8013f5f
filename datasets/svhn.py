"""SVHN: 32x32 colour photographs of house-number digits (Netzer et al., 2011)."""

from __future__ import annotations

from pathlib import Path

from harness.spec import DatasetSpec, OfficialFile, Splits

FILES = tuple(
    OfficialFile(
        path=name, url=f"http://ufldl.stanford.edu/housenumbers/{name}", md5=md5, bytes=size
    )
    for name, md5, size in (
        ("train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373", 182_040_794),
        ("test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3", 64_275_384),
    )
)


def load_splits(root: Path) -> Splits:
    """Return 73,257 training and 26,032 test images of 32×32×3; the "extra" ones are left out."""
    from torchvision.datasets import SVHN

    train, test = (SVHN(root, split=split) for split in ("train", "test"))
    return Splits(
        # From N×3×H×W to N×H×W×3.
        train_images=train.data.transpose(0, 2, 3, 1),
        train_labels=train.labels,
        test_images=test.data.transpose(0, 2, 3, 1),
        test_labels=test.labels,
    )


# The statistics are CIFAR-10's: the published comparison normalised SVHN with them.
SPEC = DatasetSpec(
    label="SVHN",
    classes=tuple("0123456789"),
    channels=3,
    image_size=32,
    load_splits=load_splits,
    files=FILES,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2023, 0.1994, 0.2010),
)
