"""The split of scikit-learn's digits: whole, stratified, and the same for ever."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from datasets.digits import SPEC
from harness.data.npz import arrays_sha256


@pytest.fixture(scope="module")
def splits():
    return SPEC.load_splits(Path("nowhere"))


def test_a_fifth_of_each_class_is_for_testing(splits):
    assert splits.train_images.shape == (1437, 8, 8)
    assert splits.test_images.shape == (360, 8, 8)
    train, test = np.bincount(splits.train_labels), np.bincount(splits.test_labels)
    # The classes of the 1,797 digits, as counted in scikit-learn's description of them.
    assert list(train + test) == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert all(
        abs(n_test - total / 5) < 1 for n_test, total in zip(test, train + test, strict=True)
    )


def test_every_digit_is_in_one_part(splits):
    from sklearn.datasets import load_digits

    # 0..16 on the scale of 0..255, rounded by hand: 255/16 = 15.9375.
    levels = [0, 16, 32, 48, 64, 80, 96, 112, 128, 143, 159, 175, 191, 207, 223, 239, 255]
    digits = load_digits()
    wanted = Counter(
        (np.take(levels, image.astype(int)).astype(np.uint8).tobytes(), int(label))
        for image, label in zip(digits.images, digits.target, strict=True)
    )
    images = np.concatenate([splits.train_images, splits.test_images])
    labels = np.concatenate([splits.train_labels, splits.test_labels])
    found = Counter((i.tobytes(), int(n)) for i, n in zip(images, labels, strict=True))
    assert images.dtype == np.uint8
    assert found == wanted


def test_the_split_never_changes(splits):
    # Records of digits stop being comparable when this does.
    assert arrays_sha256(splits) == (
        "d863eba0645a6bd833c4b03f3e2c8352eaf228218008092ff2c92a03b7d8b44c"
    )
