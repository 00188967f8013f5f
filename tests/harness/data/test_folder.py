"""Folders and tables of images: what is taken, what is left out, and what is said about it."""

import csv
import io
import json
import os

import numpy as np
import pytest
from PIL import Image

from harness.data.splits import FolderSplit, join_splits
from tests.harness.data.own_images import complaint, load, notes, pixels_of, save, write_folder


def first_pixels(split):
    return pixels_of(split)[:, 0, 0, 0].tolist()


def test_folders_within_a_class_are_taken_as_torchvision_takes_them(tmp_path):
    from torchvision.datasets import ImageFolder

    root = write_folder(tmp_path / "images")
    for number, name in enumerate(("ant/b/1.PNG", "ant/b/c/2.png", "ant/a/3.png", "bee/4.png")):
        save(np.full((4, 4), 100 + number, np.uint8), root / "train" / name)
    (tmp_path / "elsewhere").mkdir()
    save(np.full((4, 4), 200, np.uint8), tmp_path / "elsewhere" / "5.png")
    (root / "train" / "bee" / "link").symlink_to(tmp_path / "elsewhere")
    data, wanted = load(root), ImageFolder(root / "train")
    assert data.classes == tuple(wanted.classes)
    assert data.train.labels.tolist() == wanted.targets
    assert first_pixels(data.train) == [image.getpixel((0, 0))[0] for image, _ in wanted]
    assert len(data.train) == 9


@pytest.mark.parametrize("target", [".", "..", "../..", "../../bee"])
def test_a_link_that_leads_back_is_named(tmp_path, target):
    root = write_folder(tmp_path / "images")
    inside = root / "train" / "ant" / "in"
    inside.mkdir()
    (inside / "loop").symlink_to(target)
    (root / "train" / "bee" / "back").symlink_to(inside)
    assert complaint(root).endswith("a link to a folder that it lies in; remove it")


def test_a_link_to_nothing_is_named(tmp_path):
    root = write_folder(tmp_path)
    (root / "train" / "ant" / "gone.png").symlink_to(tmp_path / "nothing")
    assert "gone.png: cannot be read as an image ([Errno 2] No such file" in complaint(root)


def test_files_that_are_left_out_are_counted_and_named(tmp_path):
    root = write_folder(tmp_path)
    names = "a.gif b.GIF c.jfif d.heic in/e.gif notes.txt README ._a.png .DS_Store .cache/f.png"
    for name in names.split():
        (root / "train" / "ant" / name).parent.mkdir(exist_ok=True)
        (root / "train" / "ant" / name).write_bytes(b"")
    (root / "train" / "list.txt").write_text("beside the classes")
    (root / "old").mkdir()
    data = load(root)
    assert len(data.train) == 4
    assert notes(data) == (
        "left out: 10 file(s) (3 .gif, 2 .txt, 2 hidden, 1 without an ending, 1 .jfif, 1 .heic): "
        "train/ant/._a.png and others; left out: folder old"
    )


def test_the_same_image_in_two_parts_is_said(tmp_path):
    root = write_folder(tmp_path, ("train", "test", "val"))
    data = (root / "train/ant/0.png").read_bytes()
    (root / "test/ant/again.png").write_bytes(data)
    (root / "val/bee/0.png").write_bytes(data)
    assert notes(load(root)).startswith(
        "1 image(s) both in train and in test; 1 image(s) both in train and in val; "
    )


def test_validation_images_are_apart(tmp_path):
    plain = load(write_folder(tmp_path / "plain"))
    data = load(write_folder(tmp_path / "more", ("train", "test", "Validation")))
    assert plain.val is None
    assert (len(data.train), len(data.test), len(data.val)) == (4, 4, 4)
    assert first_pixels(data.val) == [8, 9, 10, 11]
    assert plain.source.sha256 != data.source.sha256
    assert "4 validation image(s) are not trained on" in notes(data)


def test_two_folders_for_one_part(tmp_path):
    root = write_folder(tmp_path, ("train", "test", "val", "valid"))
    assert "both 'val' and 'valid' in it; wanted one of them" in complaint(root)


def test_a_class_that_is_only_tested(tmp_path):
    root = write_folder(tmp_path)
    save(np.zeros((4, 4), np.uint8), root / "test" / "cat" / "0.png")
    assert complaint(root).endswith("no training image of class 'cat'")


def test_a_class_of_files_that_are_left_out(tmp_path):
    root = write_folder(tmp_path)
    for path in (root / "train" / "bee").iterdir():
        path.rename(path.with_suffix(".gif"))
    assert complaint(root).endswith(
        "no training image of class 'bee'; left out: 2 file(s) (2 .gif): train/bee/0.gif and others"
    )


@pytest.mark.parametrize("below", ["", "train"])
def test_one_folder_is_shared_out(tmp_path, below):
    root = write_folder(tmp_path / "images", (below,), images=10)
    assert "no folder 't" in complaint(root)
    assert "--set data.test_share=0.2" in complaint(root) or below
    data = load(root, share=0.2)
    assert (data.train.labels.bincount().tolist(), data.test.labels.bincount().tolist()) == (
        [8, 8],
        [2, 2],
    )
    assert sorted(first_pixels(data.train) + first_pixels(data.test)) == [*range(20)]
    assert notes(data) == "test images: 0.2 of each class, drawn with data.test_seed=0"
    again, other = load(root, share=0.2), load(root, share=0.2, seed=1)
    assert first_pixels(again.test) == first_pixels(data.test) != first_pixels(other.test)
    digests = [each.source.sha256 for each in (data, again, other, load(root, share=0.3))]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


@pytest.mark.parametrize("memory_limit_gb", [1, 1e-9])
def test_training_images_that_are_shared_out_join_the_validation_images(tmp_path, memory_limit_gb):
    root = write_folder(tmp_path, ("train", "val"))
    data = load(root, share=0.5, memory_limit_gb=memory_limit_gb)
    joined = join_splits(data.train, data.val)
    assert joined.labels.tolist() == [0, 1, 0, 0, 1, 1]
    assert first_pixels(joined) == [*first_pixels(data.train), 4, 5, 6, 7]


def test_a_share_of_what_has_test_images(tmp_path):
    root = write_folder(tmp_path)
    assert complaint(root, share=0.5).endswith("test images of its own: leave out data.test_share")


def test_a_class_too_small_to_share(tmp_path):
    root = write_folder(tmp_path, ("",), images=2)
    assert load(root, share=0.01).test.labels.tolist() == [0, 1]
    (root / "bee" / "1.png").unlink()
    assert "class 'bee' has 1 image: data.test_share wants 2 or more" in complaint(root, share=0.5)


def test_names_that_are_not_utf8(tmp_path):
    root = write_folder(tmp_path, classes=("ant", "bee"))
    for part in ("train", "test"):
        (root / part / "bee").rename(root / part / os.fsdecode(b"caf\xe9"))
        (root / part / "ant" / "0.png").rename(root / part / "ant" / os.fsdecode(b"\xff.png"))
    data = load(root)
    assert data.classes == ("ant", "caf\\xe9")
    json.dumps(data.classes, ensure_ascii=False).encode()
    (root / "train" / os.fsdecode(b"caf\xe9") / "0.png").write_bytes(b"none")
    assert "/caf\\xe9/0.png: not an image" in complaint(root)


@pytest.mark.parametrize("name", ["two\nlines", "tab\tbed", "\x1b[31mred", "-rf", "..."])
def test_class_names_of_any_letters(tmp_path, name):
    if name.startswith("."):
        assert "2 or more" in complaint(write_folder(tmp_path, classes=("ant", name)))
        return
    data = load(write_folder(tmp_path, classes=("zoo", name)))
    assert all(each.isprintable() for each in data.classes)


def test_all_headers_are_read_by_workers_where_there_are_many(tmp_path, monkeypatch):
    from harness.data import splits

    monkeypatch.setattr(splits, "_FEW_HEADERS", 1)
    monkeypatch.setattr(splits, "_HEADERS_AT_A_TIME", 3)
    root = write_folder(tmp_path)
    save(Image.new("LA", (9, 4), (0, 0)), root / "test/bee/1.png")
    lazy = load(root, memory_limit_gb=1e-9)
    assert isinstance(lazy.train, FolderSplit)
    assert "1 image(s) laid over white" in notes(lazy)
    (root / "test/bee/0.png").write_bytes(b"none")
    assert complaint(root, memory_limit_gb=1e-9).endswith("test/bee/0.png: not an image")


def write_csv(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",").writerows(
            [header, *rows]
        )
    return path


ROWS = [
    ("pictures/a 1.png", "bee", "train"),
    ("pictures/b.png", "ant", "train"),
    ("pictures/c.png", "ant", "test"),
    ("pictures/d.png", "bee", "Validation"),
]


@pytest.fixture
def table(tmp_path):
    for number, (name, _, _) in enumerate(ROWS):
        save(np.full((4, 4), 10 * number, np.uint8), tmp_path / name)
    return tmp_path / "table.csv"


@pytest.mark.parametrize("name", ["table.csv", "table.tsv"])
@pytest.mark.parametrize("header", [("path", "label", "split"), ("File_Name", " class", "SET")])
def test_a_table_of_paths(table, name, header):
    data = load(write_csv(table.with_name(name), header, ROWS))
    assert data.classes == ("ant", "bee")
    assert (data.train.labels.tolist(), data.test.labels.tolist()) == ([1, 0], [0])
    assert (first_pixels(data.train), first_pixels(data.test)) == ([0, 10], [20])
    assert first_pixels(data.val) == [30]
    assert data.source.name == name


def test_a_table_with_numbers_for_labels(table):
    numbers = {"ant": "10", "bee": "9"}
    rows = [(name, numbers[label]) for name, label, _ in ROWS]
    data = load(write_csv(table, ("path", "label"), rows), share=0.5)
    assert data.classes == ("9", "10")


@pytest.mark.parametrize(
    ("header", "rows", "words"),
    [
        (
            ("picture", "label"),
            [],
            "columns picture, label: none for the paths; wanted one, called",
        ),
        (("path", "label", "class"), [], "label and class for the classes; wanted one"),
        (("path", "label", "split"), [("gone.png", "ant", "test")], "line 2: no file '"),
        (("path", "label", "split"), [("pictures/b.png", "", "test")], "line 2: an empty value"),
        (("path", "label", "split"), [("pictures/b.png", "ant")], "line 2: 2 value(s) for 3 col"),
        (("path", "label", "split"), [("pictures/b.png", "ant", "dev")], "line 2: part 'dev'; wa"),
        (
            ("path", "label", "split"),
            [*ROWS, ROWS[0]],
            "line 6: 'pictures/a 1.png' stands on line 2",
        ),
        (("path", "label", "split"), ROWS[:2], "no test images; wanted a part called test, or"),
        (("path", "label", "split"), ROWS[2:], "no train images"),
        (("path", "label", "split"), [], "no train images"),
        (
            ("path", "label", "split"),
            [*ROWS[:2], ("pictures/c.png", "cat", "test")],
            "test holds 'cat' at index 0, which is none of the 2 classes",
        ),
    ],
)
def test_a_table_that_is_wrong(table, header, rows, words):
    assert words in complaint(write_csv(table, header, rows))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0", b'path,label\n"a'])
def test_what_is_no_table(table, content):
    table.write_bytes(content)
    assert str(table) in complaint(table)


def encode(number):
    out = io.BytesIO()
    Image.new("L", (4, 4), number).save(out, "PNG")
    return out.getvalue()


def write_parquet(path, images, labels, *, column="image", names=None, **more):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pa.table({column: images, "label": labels, **more})
    if names:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        text = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": text})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path)
    return path


def test_parquet_as_hugging_face_writes_it(tmp_path):
    for start, part in ((0, "train"), (3, "test"), (6, "validation")):
        images = [{"bytes": encode(start + index), "path": None} for index in range(3)]
        path = tmp_path / "data" / f"{part}-00000-of-00001-0123456789abcdef.parquet"
        write_parquet(path, images, [2, 0, 1], names=["cat", "ant", "bee"])
    data = load(tmp_path)
    assert data.classes == ("cat", "ant", "bee")
    assert data.train.labels.tolist() == [2, 0, 1]
    assert (first_pixels(data.test), first_pixels(data.val)) == ([3, 4, 5], [6, 7, 8])


def test_parquet_as_tfds_writes_it(tmp_path):
    for start, part in ((0, "train"), (3, "test")):
        images = [encode(start + index) for index in range(3)]
        path = tmp_path / f"animals-{part}.parquet-00000-of-00001"
        write_parquet(path, images, ["bee", "ant", "bee"], id=["x", "y", "z"])
    data = load(tmp_path)
    assert data.classes == ("ant", "bee")
    assert (data.train.labels.tolist(), first_pixels(data.test)) == ([1, 0, 1], [3, 4, 5])


def test_one_parquet_file_is_shared_out(tmp_path):
    path = write_parquet(tmp_path / "all.parquet", [encode(i) for i in range(4)], [0, 1, 0, 1])
    assert "no test images" in complaint(path)
    data = load(path, share=0.5, memory_limit_gb=1e-9)
    assert sorted(first_pixels(data.train) + first_pixels(data.test)) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": ["a", "b"]}, "wanted one column of encoded images, found 0"),
        ({"thumbnail": [b"x", b"y"]}, "wanted one column of encoded images, found 2"),
        ({"labels": [0.5, 1.5]}, "label is double; wanted integers or texts"),
        ({"labels": [0, None]}, "row 1: no image or no label in it"),
        ({"names": ["ant"]}, "row 1: label 1; wanted 0 to 0"),
        ({"class": ["ant", "bee"]}, "label and class for the classes; wanted one"),
        ({"images": [encode(0), b"none"]}, "x.parquet, row 1: not an image"),
    ],
)
def test_parquet_that_is_wrong(tmp_path, change, words):
    fields = {"images": [encode(0), encode(1)], "labels": [0, 1]} | change
    assert words in complaint(write_parquet(tmp_path / "x.parquet", **fields), share=0.5)


def test_what_is_no_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and no more")
    assert "x.parquet: not a Parquet file (" in complaint(tmp_path / "x.parquet")
