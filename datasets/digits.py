"""Digits: 8x8 grey handwritten digits inside scikit-learn; needs no network (Alpaydin, 1998)."""

from __future__ import annotations

from pathlib import Path

from harness.spec import DatasetSpec, Splits

TEST_SHARE = 0.2
SPLIT_SEED = 0
FULL_INK = 16


def load_splits(_root: Path) -> Splits:
    """Return 1,437 training and 360 test images, 8×8, out of the installed scikit-learn.

    A pixel counts the inked ones among 4×4 scanned points, 0 to 16; it becomes the nearest
    integer to 255/16 of that. scikit-learn comes without a split of its own, so this one is
    ours: a fifth of each class, drawn with a fixed seed.
    """
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = np.rint(digits.images * (255 / FULL_INK)).astype(np.uint8)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images,
        digits.target,
        test_size=TEST_SHARE,
        stratify=digits.target,
        random_state=SPLIT_SEED,
    )
    return Splits(
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
    )


SPEC = DatasetSpec(
    label="Digits",
    classes=tuple("0123456789"),
    channels=1,
    image_size=8,
    load_splits=load_splits,
    splits_sha256="d863eba0645a6bd833c4b03f3e2c8352eaf228218008092ff2c92a03b7d8b44c",
    advice="the images come with scikit-learn, which has to be installed again",
)
