"""Images from files and folders to batches."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.data.splits import FolderSplit, MemorySplit
from harness.errors import RequestError
from harness.spec import DatasetSpec, OfficialFile, Splits
from tests import file_host
from tests.harness.data import own_images

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
CLASSES = ("ant", "bee", "cat")


def pixels(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def small_splits(*shape):
    """Return 6 training images, two a class, and 4 test images of H×W or H×W×C."""
    both = pixels(10, *shape)
    return Splits(
        train_images=both[:6],
        train_labels=np.array([0, 1, 2, 0, 1, 2]),
        test_images=both[6:],
        test_labels=np.array([2, 1, 0, 0], dtype=np.uint8),
    )


def small_spec(channels, load_splits=None):
    return DatasetSpec(
        label="Animals",
        classes=CLASSES,
        channels=channels,
        image_size=4,
        load_splits=load_splits or (lambda _: small_splits(4, 4)),
    )


def load(spec, path=None, **options):
    return own_images.load(path, spec, **{"image_size": 6} | options)


def write_npz(path, splits, classes=CLASSES):
    np.savez(path, **vars(splits), classes=np.array(classes))
    return path


def write_folder(root, shapes, mode="RGB"):
    """Write one image of each shape H×W for each class and part; return them by path."""
    written = {}
    for part in ("train", "test"):
        for name in CLASSES:
            (root / part / name).mkdir(parents=True)
            for number, shape in enumerate(shapes):
                array = pixels(*shape) if mode == "L" else pixels(*shape, 3)
                array = array + np.uint8(len(written))
                path = root / part / name / f"{number}.png"
                Image.fromarray(array, mode).save(path)
                written[path] = array
    return written


def all_of(split, batch_size=4):
    images, labels = zip(*split.batches(None, batch_size), strict=True)
    return torch.cat(images), torch.cat(labels)


def test_official_images(tmp_path):
    asked = []

    def load_splits(root):
        asked.append(root)
        return small_splits(4, 5)

    data = load(small_spec(1, load_splits), offline=False)
    images, labels = all_of(data.train)
    assert asked == [Path("nowhere")]
    assert images.dtype == torch.uint8
    assert torch.equal(images, torch.from_numpy(small_splits(4, 5).train_images[:, None]))
    assert labels.dtype == torch.int64
    assert labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert (data.classes, data.channels) == (CLASSES, 1)
    assert (data.source.name, data.source.official) == ("animals", False)


def test_images_are_official_where_their_digest_proves_it():
    digest = load(small_spec(1)).source.sha256
    assert load(replace(small_spec(1), splits_sha256=digest)).source.official
    with pytest.raises(RequestError, match=f"other images than the official.* is {digest}, not 00"):
        load(replace(small_spec(1), splits_sha256="0" * 64))


@pytest.fixture
def published(tmp_path):
    """A data set whose images are official where its one file is, at a host."""
    with file_host.running() as host:
        content = host.files["animals.zip"] = b"animals"
        file = OfficialFile(
            path="sub/animals.zip",
            url=f"{host.address('ok')}/animals.zip",
            md5=hashlib.md5(content).hexdigest(),
            bytes=len(content),
        )

        def load_splits(root):
            if (root / file.path).read_bytes() != content:
                raise RuntimeError("other animals. You can use download=True")
            return small_splits(4, 4)

        yield replace(small_spec(1, load_splits), files=(file,), advice="catch some"), host


def test_official_files_are_fetched_once(published, tmp_path):
    spec, host = published
    for offline in (False, False, True):
        assert load(spec, data_dir=tmp_path, offline=offline).source.official
    assert len(host.requests) == 1


def test_official_files_that_are_wrong_are_replaced_or_named(published, tmp_path):
    spec, host = published
    path = tmp_path / "sub" / "animals.zip"
    path.parent.mkdir()
    path.write_bytes(b"others")
    advice = f"put animals.zip of {host.address('ok')}/ into {path.parent}; catch some"
    with pytest.raises(RequestError) as raised:
        load(spec, data_dir=tmp_path)
    assert str(raised.value) == (
        f"animals: no usable images in '{tmp_path}' (offline; other animals); {advice}"
    )
    assert load(spec, data_dir=tmp_path, offline=False).source.official
    assert path.read_bytes() == b"animals"


def test_what_is_there_already_is_not_advised(published, tmp_path):
    spec, _ = published

    def load_splits(root):
        raise OSError(28, "No space left on device")

    with pytest.raises(RequestError) as raised:
        load(replace(spec, load_splits=load_splits), data_dir=tmp_path, offline=False)
    assert str(raised.value) == (
        f"animals: no usable images in '{tmp_path}' ([Errno 28] No space left on device); "
        "catch some"
    )


def test_the_digest_of_official_images_depends_on_nothing_but_them():
    splits = small_splits(4, 4)
    same = replace(
        splits,
        train_images=splits.train_images[:, ::-1].copy()[:, ::-1],
        train_labels=splits.train_labels.astype(">i2"),
    )
    other = replace(splits, test_images=splits.test_images ^ np.uint8(1))
    digests = [load(small_spec(1, lambda _, s=s: s)).source.sha256 for s in (splits, same, other)]
    assert digests[0] == digests[1] != digests[2]


def test_a_colour_file_of_ones_own(tmp_path):
    splits = small_splits(4, 5, 3)
    path = write_npz(tmp_path / "mine.npz", splits)
    data = load(None, path)
    images, labels = all_of(data.test)
    assert torch.equal(images, torch.from_numpy(splits.test_images.transpose(0, 3, 1, 2)))
    assert labels.tolist() == [2, 1, 0, 0]
    assert (data.classes, data.channels) == (CLASSES, 3)
    assert (data.source.name, data.source.official) == ("mine.npz", False)
    assert data.source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_that_stands_in_gets_the_data_sets_labels(tmp_path):
    path = write_npz(tmp_path / "mine.npz", small_splits(4, 4), ("cat", "ant", "bee"))
    data = load(small_spec(1), path)
    assert data.classes == CLASSES
    assert data.train.labels.tolist() == [2, 0, 1, 2, 0, 1]
    assert data.test.labels.tolist() == [1, 0, 2, 2]
    assert not data.source.official


def test_batches_follow_the_order_and_drop_the_rest():
    images = torch.arange(10, dtype=torch.uint8).reshape(10, 1, 1, 1)
    split = MemorySplit(images, torch.arange(10) * 2)
    order = torch.tensor([9, 1, 8, 0, 5])
    batches = [(i.flatten().tolist(), n.tolist()) for i, n in split.batches(order, 2)]
    assert batches == [([9, 1], [18, 2]), ([8, 0], [16, 0]), ([5], [10])]
    assert [len(n) for _, n in split.batches(None, 4)] == [4, 4, 2]
    assert len(split) == 10


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_folder_of_one_size_keeps_it(tmp_path, mode):
    written = write_folder(tmp_path, [(4, 5), (4, 5)], mode)
    data = load(None, tmp_path)
    images, labels = all_of(data.test)
    expected = [array for path, array in written.items() if path.parts[-3] == "test"]
    assert images.shape == (6, data.channels, 4, 5)
    for image, array in zip(images, expected, strict=True):
        assert np.array_equal(image.permute(1, 2, 0).squeeze(2).numpy(), array)
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.classes == CLASSES
    assert data.channels == {"RGB": 3, "L": 1}[mode]
    assert data.source.name == tmp_path.name
    assert "contents" in data.source.digest_of


def test_a_folder_of_several_sizes_is_resized(tmp_path):
    written = write_folder(tmp_path, [(4, 5), (9, 7)])
    images, _ = all_of(load(None, tmp_path, image_size=6).train)
    first, second = list(written.values())[:2]
    for image, array in ((images[0], first), (images[1], second)):
        resized = Image.fromarray(array).resize((6, 6), Image.Resampling.BILINEAR)
        assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(resized))


def test_a_folder_too_large_is_decoded_by_workers(tmp_path):
    write_folder(tmp_path, [(4, 5), (9, 7)])
    # 12 images of 6×6×3 are 1,296 bytes.
    kept = load(None, tmp_path, memory_limit_gb=1296e-9)
    lazy = load(None, tmp_path, memory_limit_gb=1295e-9)
    assert isinstance(kept.train, MemorySplit)
    assert isinstance(lazy.train, FolderSplit)
    assert lazy.train.workers >= 1
    order = torch.tensor([5, 0, 3, 1, 4])
    state = torch.get_rng_state()
    for left, right in zip(kept.train.batches(order, 2), lazy.train.batches(order, 2), strict=True):
        assert torch.equal(left[0], right[0])
        assert torch.equal(left[1], right[1])
    assert torch.equal(torch.get_rng_state(), state)
    assert "sizes" in lazy.source.digest_of


def test_the_digest_of_a_folder_follows_its_files(tmp_path):
    written = write_folder(tmp_path / "images", [(4, 4)])
    first = load(None, tmp_path / "images").source.sha256
    assert load(None, tmp_path / "images").source.sha256 == first
    changed = next(iter(written))
    Image.fromarray(written[changed] ^ np.uint8(1)).save(changed)
    second = load(None, tmp_path / "images").source.sha256
    changed.rename(changed.with_name("renamed.png"))
    assert len({first, second, load(None, tmp_path / "images").source.sha256}) == 3


def test_a_folder_that_stands_in_gets_the_data_sets_labels_and_channels(tmp_path):
    write_folder(tmp_path, [(4, 4)])
    spec = replace(small_spec(1), classes=("cat", "ant", "bee"))
    data = load(spec, tmp_path)
    assert data.classes == ("cat", "ant", "bee")
    assert data.train.labels.tolist() == [1, 2, 0]
    assert next(data.train.batches(None, 1))[0].shape == (1, 1, 4, 4)


@pytest.mark.parametrize(
    ("name", "file", "n_train", "n_test"),
    [("emnist", "emnist47.npz", 99845, 18800), ("cifar10", "cifar10_sample.npz", 3660, 1000)],
)
def test_the_shared_images(name, file, n_train, n_test):
    from harness.registry import load_dataset

    if not (SHARED / file).exists():
        pytest.skip(f"no {file} beside the checkout")
    data = load(load_dataset(name), SHARED / file)
    assert (len(data.train), len(data.test)) == (n_train, n_test)
    assert data.train.labels.unique().tolist() == list(range(len(data.classes)))
    assert (data.source.name, data.source.official) == (file, False)
