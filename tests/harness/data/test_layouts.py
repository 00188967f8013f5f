"""Arrays of other layouts: taken where their meaning is certain, else refused in words."""

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from harness.registry import load_dataset
from tests.harness.data.own_images import complaint, load, notes, pixels_of

RANDOM = np.random.default_rng(0)
GREY = {part: RANDOM.integers(0, 256, (6, 4, 5), np.uint8) for part in ("train", "test", "val")}
COLOUR = {part: RANDOM.integers(0, 256, (6, 4, 5, 3), np.uint8) for part in ("train", "test")}
LABELS = np.array([0, 1, 2, 2, 1, 0])


def save(path, images=GREY, labels=LABELS, parts=("train", "test"), **more):
    arrays = {f"{part}_images": images[part] for part in parts}
    arrays |= {f"{part}_labels": labels for part in parts}
    arrays |= {"classes": np.array(["ant", "bee", "cat"])} | more
    np.savez(path / "x.npz", **{k: v for k, v in arrays.items() if v is not None})
    return path / "x.npz"


def all_labels(data):
    return data.train.labels.tolist(), data.test.labels.tolist()


def test_the_usual_layout_is_said_nothing_about(tmp_path):
    data = load(save(tmp_path))
    assert data.source.notes == ()
    assert np.array_equal(pixels_of(data.train)[:, 0], GREY["train"])


def test_medmnist(tmp_path):
    path = save(
        tmp_path,
        labels=LABELS[:, None].astype(np.uint8),
        parts=("train", "val", "test"),
        classes=None,
    )
    data = load(path)
    assert data.classes == ("0", "1", "2")
    assert all_labels(data) == (LABELS.tolist(), LABELS.tolist())
    assert np.array_equal(pixels_of(data.val)[:, 0], GREY["val"])
    assert data.val.labels.tolist() == LABELS.tolist()
    assert notes(data) == "6 validation image(s) are not trained on; TRUNK groups by them"


def test_validation_images_change_the_digest(tmp_path):
    one = load(save(tmp_path))
    (tmp_path / "b").mkdir()
    two = load(save(tmp_path / "b", parts=("train", "test", "val")))
    assert one.source.sha256 != two.source.sha256


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "Y_train", "X_test", "Y_test"),
        ("train_x", "train_y", "test_x", "test_y"),
        ("training_images", "training_targets", "testing_images", "testing_targets"),
    ],
)
def test_other_names(tmp_path, names):
    arrays = (GREY["train"], LABELS, GREY["test"], LABELS)
    np.savez(tmp_path / "x.npz", **dict(zip(names, arrays, strict=True)))
    assert np.array_equal(pixels_of(load(tmp_path / "x.npz").test)[:, 0], GREY["test"])


def test_two_arrays_of_one_meaning(tmp_path):
    path = save(tmp_path, x_train=GREY["train"])
    assert "'train_images' and 'x_train' both mean train_images; wanted one" in complaint(path)


def test_one_part_is_shared_out(tmp_path):
    np.savez(tmp_path / "x.npz", images=GREY["train"], labels=LABELS)
    assert "or --set data.test_share=0.2" in complaint(tmp_path / "x.npz")
    data = load(tmp_path / "x.npz", share=0.5)
    assert all(sorted(labels) == [0, 1, 2] for labels in all_labels(data))


def test_arrays_that_are_left_out_are_named(tmp_path):
    path = save(tmp_path, mean=np.zeros(3), extra_images=GREY["val"])
    assert notes(load(path)) == "left out: array(s) mean, extra_images"


def test_part_without_labels(tmp_path):
    path = save(tmp_path, val_images=GREY["val"])
    assert "array 'val_labels' is missing" in complaint(path)


def floats(images, scale=255, kind=np.float32):
    return {part: (array / scale).astype(kind) for part, array in images.items()}


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_floats_between_0_and_1(tmp_path, kind):
    data = load(save(tmp_path, images=floats(GREY, kind=kind)))
    assert np.array_equal(pixels_of(data.train)[:, 0], GREY["train"])
    assert notes(data) == "images between 0 and 1 are scaled to 0 to 255 and rounded"


@pytest.mark.parametrize("kind", [np.int64, np.uint16, np.float32])
def test_whole_numbers_to_255(tmp_path, kind):
    data = load(save(tmp_path, images={p: a.astype(kind) for p, a in GREY.items()}))
    assert np.array_equal(pixels_of(data.test)[:, 0], GREY["test"])


def test_true_and_false(tmp_path):
    data = load(save(tmp_path, images={part: array > 99 for part, array in GREY.items()}))
    assert set(pixels_of(data.train).unique().tolist()) == {0, 255}


@pytest.mark.parametrize(
    "change",
    [
        lambda a: (a > 99).astype(np.float32),  # 0 and 1: of 1 or of 255?
        lambda a: (a / 16).round(),  # 0 to 16, as scikit-learn's digits
        lambda a: a / 255 * 2 - 1,
        lambda a: a / 2,
        lambda a: a.astype(np.int64) * 257,
        lambda a: np.where(a > 250, np.nan, a / 255),
        lambda a: a.astype(np.complex64),
    ],
)
def test_scales_that_are_not_certain(tmp_path, change):
    message = complaint(save(tmp_path, images={p: change(a) for p, a in GREY.items()}))
    assert "wanted uint8 N×H×W or N×H×W×3" in message


def test_parts_on_different_scales(tmp_path):
    images = {"train": GREY["train"], "test": GREY["test"] / 255}
    assert "test_images is float64 6×4×5; wanted uint8" in complaint(save(tmp_path, images=images))


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_first(tmp_path, channels):
    images = {part: array[..., :channels] for part, array in COLOUR.items()}
    first = {part: array.transpose(0, 3, 1, 2) for part, array in images.items()}
    last = load(save(tmp_path, images=images))
    data = load(save(tmp_path, images=first))
    assert (pixels_of(data.train) == pixels_of(last.train)).all()
    assert notes(data) == "images are N×C×H×W"


def test_fortran_order_and_big_endian(tmp_path):
    images = {part: np.asfortranarray(array) for part, array in COLOUR.items()}
    data = load(save(tmp_path, images=images, labels=LABELS.astype(">i4")))
    assert np.array_equal(pixels_of(data.train).permute(0, 2, 3, 1), COLOUR["train"])
    assert all_labels(data)[0] == LABELS.tolist()


@pytest.mark.parametrize("kind", [bool, np.uint8, np.float32])
def test_one_hot_labels(tmp_path, kind):
    data = load(save(tmp_path, labels=np.eye(3)[LABELS].astype(kind)))
    assert all_labels(data) == (LABELS.tolist(), LABELS.tolist())
    assert notes(data) == "labels are one-hot"


@pytest.mark.parametrize(
    "labels",
    [
        np.eye(3)[LABELS] * 0.9,
        np.clip(np.eye(3)[LABELS] + np.eye(3)[0], 0, 1),
        np.eye(4)[LABELS],
        LABELS[:, None, None],
        LABELS.astype(np.float32),
        LABELS.astype(object),
    ],
)
def test_labels_of_no_certain_meaning(tmp_path, labels):
    assert "train_labels" in complaint(save(tmp_path, labels=labels))


def test_labels_from_1(tmp_path):
    data = load(save(tmp_path, labels=LABELS + 1))
    assert all_labels(data) == (LABELS.tolist(), LABELS.tolist())
    assert notes(data) == "labels 1 to 3 count the classes from 1"
    named = load(save(tmp_path, labels=LABELS + 1, classes=None))
    assert (named.classes, all_labels(named)[0]) == (("1", "2", "3"), LABELS.tolist())
    assert "holds 3" in complaint(save(tmp_path, labels=np.array([0, 1, 2, 3, 2, 1])))


def test_labels_with_gaps_keep_their_numbers(tmp_path):
    data = load(save(tmp_path, labels=np.array([-1, 5, 20])[LABELS], classes=None))
    assert (data.classes, all_labels(data)[0]) == (("-1", "5", "20"), LABELS.tolist())


def test_a_number_that_is_only_tested(tmp_path):
    path = save(tmp_path, classes=None, test_labels=np.array([0, 1, 2, 3, 0, 1]))
    assert "test_labels holds 3 at index 3: no training image has that label" in complaint(path)


@pytest.mark.parametrize("kind", ["U", "S"])
@pytest.mark.parametrize("classes", [None, np.array(["cat", "bee", "ant"])])
def test_labels_that_are_names(tmp_path, kind, classes):
    texts = np.array(["ant", "bee", "cat"])[LABELS].astype(kind)
    data = load(save(tmp_path, labels=texts, classes=classes))
    assert [data.classes[label] for label in all_labels(data)[0]] == texts.astype("U").tolist()
    assert data.classes == (("ant", "bee", "cat") if classes is None else ("cat", "bee", "ant"))
    wrong = save(tmp_path, labels=texts, classes=classes, test_labels=np.array(["dog"] * 6))
    assert "test_labels holds 'dog' at index 0, which is none of the 3 classes" in complaint(wrong)


def test_digits_without_names_stand_in_for_digits(tmp_path):
    labels = np.arange(10)
    images = {part: np.zeros((10, 8, 8), np.uint8) for part in ("train", "test")}
    data = load(save(tmp_path, images=images, labels=labels, classes=None), load_dataset("digits"))
    assert all_labels(data)[0] == labels.tolist()


def write_svhn(folder, labels=None):
    from scipy.io import savemat

    images = {}
    for part in ("train", "test"):
        numbers = np.arange(1, 11, dtype=np.uint8) if labels is None else labels
        images[part] = RANDOM.integers(0, 256, (len(numbers), 4, 5, 3), np.uint8)
        arrays = {"X": images[part].transpose(1, 2, 3, 0), "y": numbers[:, None]}
        savemat(folder / f"{part}_32x32.mat", arrays)
    return images


@pytest.mark.parametrize("name", ["", "train_32x32.mat"])
@pytest.mark.parametrize("own", [True, False])
def test_svhn(tmp_path, name, own):
    images = write_svhn(tmp_path)
    data = load(tmp_path / name, None if own else load_dataset("svhn"))
    assert data.classes == tuple("0123456789")
    assert all_labels(data)[0] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    for split, part in ((data.train, "train"), (data.test, "test")):
        assert np.array_equal(pixels_of(split).permute(0, 2, 3, 1), images[part])
    assert notes(data) == "label 10 is the digit 0, as in SVHN"


def test_one_mat_file(tmp_path):
    write_svhn(tmp_path, np.array([1, 2, 3, 1, 2, 3], np.uint8))
    (tmp_path / "test_32x32.mat").unlink()
    path = tmp_path / "train_32x32.mat"
    assert "array 'test_images' is missing; found: train_images, train_labels" in complaint(path)
    data = load(path, share=0.5)
    assert (data.classes, len(data.test)) == (("1", "2", "3"), 3)


@pytest.mark.parametrize("content", [b"", b"none", b"MATLAB 7.3 MAT-file, cut short".ljust(200)])
def test_what_is_no_mat_file(tmp_path, content):
    (tmp_path / "x.mat").write_bytes(content)
    assert "x.mat: " in complaint(tmp_path / "x.mat")


def archive(kind):
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w") as file:
            for number in range(3000):
                file.writestr(f"train/ant/{number}.png", b"")
        return out.getvalue()
    if kind.startswith("tar"):
        with tarfile.open(fileobj=out, mode=kind.replace("tar", "w", 1).replace(".", ":")) as file:
            file.addfile(tarfile.TarInfo("train/ant/0.png"))
        return out.getvalue()
    heads = {"rar": b"Rar!\x1a\x07\x01\0", "7z": b"7z\xbc\xaf\x27\x1c", "gz": gzip.compress(b"x")}
    return heads[kind]


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz", "rar", "7z", "gz"])
@pytest.mark.parametrize("name", [None, "images.npz", "images"])
def test_an_archive_of_images(tmp_path, kind, name):
    path = tmp_path / (name or f"images.{kind}")
    path.write_bytes(archive(kind))
    message = complaint(path)
    assert message.startswith(f"{path}: a ")
    assert message.endswith(" archive: unpack it, and name the folder")


def test_many_arrays_are_not_all_named(tmp_path):
    np.savez(tmp_path / "x.npz", **{f"array{number}": np.zeros(1) for number in range(3000)})
    message = complaint(tmp_path / "x.npz")
    assert "found: array0, array1" in message
    assert "and 2992 more" in message
    assert len(message) < 400


def test_a_device_does_not_hang():
    assert complaint(Path("/dev/zero")).endswith("neither a regular file nor a folder")
