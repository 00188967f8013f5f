"""Every kind of bad images: one line that says what is wrong, where, and what would be right."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.data.splits import FolderSplit
from harness.errors import CellError
from harness.spec import DatasetSpec, Splits
from tests.harness.data.own_images import complaint, save, write_folder


def good():
    """Return the arrays of an .npz file with nothing wrong: 3 classes, 4×4, grey."""
    return {
        "train_images": np.zeros((3, 4, 4), np.uint8),
        "train_labels": np.array([0, 1, 2]),
        "test_images": np.zeros((2, 4, 4), np.uint8),
        "test_labels": np.array([0, 1]),
        "classes": np.array(["ant", "bee", "cat"]),
    }


def spec_of(channels=1, classes=("ant", "bee", "cat"), load_splits=None):
    return DatasetSpec(
        label="Animals",
        classes=classes,
        channels=channels,
        image_size=4,
        load_splits=load_splits,
        advice="catch some",
    )


LINES = [
    ("train_images", np.zeros((3, 4, 4)), "train_images is float64 3×4×4; wanted uint8 N×H×W"),
    ("train_images", np.zeros((3, 16), np.uint8), "train_images is uint8 3×16; wanted uint8"),
    ("test_images", np.zeros((2, 3, 4, 4), np.uint8), "test_images is uint8 2×3×4×4; wanted"),
    ("test_images", np.zeros((2, 0, 4), np.uint8), "test_images is uint8 2×0×4; wanted"),
    ("test_images", np.zeros((2, 5, 4), np.uint8), "are 4×4, test_images 5×4; wanted the same"),
    ("test_images", np.zeros((2, 4, 4, 3), np.uint8), "are 4×4, test_images 4×4×3; wanted the"),
    ("train_labels", np.array([0.0, 1.0, 2.0]), "train_labels is float64 3; wanted integers"),
    ("train_labels", np.array([[0], [1], [2]]), "train_labels is int64 3×1; wanted integers"),
    ("train_labels", np.array([True, False, True]), "train_labels is bool 3; wanted integers"),
    ("train_labels", np.array([0, 1, 2, 0]), "3 train_images but 4 train_labels"),
    ("test_labels", np.array([0]), "2 test_images but 1 test_labels"),
    ("train_labels", np.array([0, 3, 2]), "train_labels holds 3 at index 1; wanted 0 to 2 (3 cl"),
    ("test_labels", np.array([0, -1]), "test_labels holds -1 at index 1; wanted 0 to 2"),
    ("train_labels", np.array([0, 0, 2]), "no training image of class 'bee'"),
    ("train_labels", np.array([0, 0, 0]), "no training image of class 'bee' (and 1 more)"),
    ("classes", np.array(["ant"]), "1 class(es); wanted 2 or more"),
    ("classes", np.array(["ant", "bee", "ant"]), "class name 'ant' stands twice"),
    ("classes", np.array(["ant", " ", "cat"]), "class 1 has an empty name"),
    ("classes", np.array([0, 1, 2]), "classes is int64 3; wanted one text"),
    ("classes", np.array("ant"), "classes is <U3 (a single value); wanted one text"),
    ("classes", np.array(["ant", "bee", "cat"], object), "'classes' holds Python objects"),
    ("train_images", None, "array 'train_images' is missing; found: train_labels, test_images"),
]


@pytest.mark.parametrize(("name", "array", "line"), LINES)
def test_an_array_that_is_wrong(tmp_path, name, array, line):
    arrays = good() | {name: array}
    np.savez(tmp_path / "x.npz", **{key: a for key, a in arrays.items() if a is not None})
    message = complaint(tmp_path / "x.npz")
    assert message.startswith(str(tmp_path / "x.npz"))
    assert line in message


def test_no_test_images(tmp_path):
    none = {"test_images": np.zeros((0, 4, 4), np.uint8), "test_labels": np.zeros(0, np.int64)}
    np.savez(tmp_path / "x.npz", **(good() | none))
    assert "no test images" in complaint(tmp_path / "x.npz")


def bytes_of(save, *args, **arrays):
    out = io.BytesIO()
    save(out, *args, **arrays)
    return out.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"train_images = 1",
        b"PK\x03\x04 cut short",
        bytes_of(np.save, np.zeros(3)),
        bytes_of(np.savez, **good())[:-40],
    ],
)
def test_a_file_that_is_no_npz(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    assert "x.npz: not an .npz file" in complaint(tmp_path / "x.npz")


def test_an_npz_with_a_bad_byte(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, **(good() | {"train_images": np.full((3, 4, 4), 7, np.uint8)}))
    path.write_bytes(path.read_bytes().replace(bytes([7] * 48), bytes([7] * 47 + [8])))
    assert "array 'train_images' is damaged" in complaint(path)


def test_a_zip_of_other_things(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, **{name: array for name, array in good().items() if name != "classes"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("classes.npy", "ant bee cat")
    assert "'classes' is not an array" in complaint(path)


def test_a_file_that_is_not_there(tmp_path):
    assert complaint(tmp_path / "x.npz").endswith("x.npz: No such file or directory")


def test_a_pickle_is_not_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    np.savez(tmp_path / "x.npz", **(good() | {"train_labels": np.array([Trap()], object)}))
    assert "holds Python objects" in complaint(tmp_path / "x.npz")
    assert not (tmp_path / "sprung").exists()


def test_a_file_with_other_classes_than_the_data_set(tmp_path):
    np.savez(tmp_path / "x.npz", **good())
    spec = spec_of(classes=("ant", "bee", "dog", "eel"))
    assert complaint(tmp_path / "x.npz", spec).endswith(
        "x.npz as Animals: its 3 classes are not the 4 wanted: 'dog' is missing, "
        "'cat' is not one of them"
    )
    fewer = complaint(tmp_path / "x.npz", spec_of(classes=("ant", "bee")))
    assert fewer.endswith("its 3 classes are not the 2 wanted: 'cat' is not one of them")


def test_a_grey_file_for_a_colour_data_set(tmp_path):
    np.savez(tmp_path / "x.npz", **good())
    assert complaint(tmp_path / "x.npz", spec_of(channels=3)).endswith(
        "train_images have 1 channel(s); Animals has 3"
    )


def test_no_file_for_ones_own_data_set():
    assert complaint() == "data set 'animals' is your own: name its --data-file"


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (RuntimeError("Dataset not found.\nYou can use download=True"), "Dataset not found"),
        (PermissionError(13, "Permission denied"), "[Errno 13] Permission denied"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_official_images_that_cannot_be_had(tmp_path, error, cause):
    def load_splits(root):
        raise error

    spec = spec_of(load_splits=load_splits)
    start = f"animals: no usable images in '{tmp_path}'"
    assert complaint(spec=spec, data_dir=tmp_path) == f"{start} (offline; {cause}); catch some"
    assert f"{start} ({cause});" in complaint(spec=spec, data_dir=tmp_path, offline=False)


def test_official_images_are_checked_too():
    arrays = good()
    del arrays["classes"]
    arrays["test_labels"] = np.array([0, 9])
    spec = spec_of(load_splits=lambda _: Splits(**arrays))
    assert "animals: test_labels holds 9" in complaint(spec=spec)


def test_an_empty_folder(tmp_path):
    assert complaint(tmp_path).endswith(
        "no folder 'train' in it; wanted train/<class>/*.png and test/<class>/*.png"
    )
    (tmp_path / "train").mkdir()
    assert "no folder 'test' in it" in complaint(tmp_path)
    (tmp_path / "test").mkdir()
    assert "0 class(es); wanted 2 or more" in complaint(tmp_path)


def test_a_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    write_folder(tmp_path)

    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert "cannot be read ([Errno 13] Permission denied" in complaint(tmp_path)


def test_a_folder_with_nothing_to_test(tmp_path):
    write_folder(tmp_path)
    for path in (tmp_path / "test").rglob("*.png"):
        path.unlink()
    assert "no test images" in complaint(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a picture"])
def test_a_file_that_is_no_image(tmp_path, content):
    path = write_folder(tmp_path) / "test/bee/1.png"
    path.write_bytes(content)
    assert complaint(tmp_path) == f"{path}: not an image"


def cut_short(root):
    path = write_folder(root) / "test/bee/1.png"
    path.write_bytes(path.read_bytes()[:-20])
    return path


def test_an_image_cut_short(tmp_path):
    path = cut_short(tmp_path)
    assert complaint(tmp_path).startswith(f"{path}: cannot be read as an image (")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_cut_short_met_by_a_worker(tmp_path, workers):
    path = cut_short(tmp_path)
    split = FolderSplit(
        paths=(path.with_name("0.png"), path),
        labels=torch.tensor([1, 1]),
        channels=1,
        size=(4, 4),
        workers=workers,
    )
    batches = split.batches(None, 1)
    next(batches)
    with pytest.raises(CellError) as caught:
        next(batches)
    assert str(caught.value).startswith(f"{path}: cannot be read as an image (")
    assert "\n" not in str(caught.value)


def test_an_image_of_16_bits(tmp_path):
    path = write_folder(tmp_path) / "train/ant/0.png"
    save(np.full((4, 4), 40000, np.uint16), path)
    assert complaint(tmp_path).startswith(f"{path}: more than 8 bits a channel")
