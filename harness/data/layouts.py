"""Bring arrays of other layouts into that of a `--data-file`, where their meaning is certain.

What is not certain stays as it is, and `harness.data.npz.check_splits` refuses it in words. Every
decision is taken over all parts together, so that they are treated alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.data.npz import check_integers, described
from harness.errors import RequestError

PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
}
"""What the parts of a data set are called, in folders, arrays and tables."""
_KINDS = {
    **dict.fromkeys(("images", "image", "imgs", "x", "data"), "images"),
    **dict.fromkeys(("labels", "label", "y", "targets", "target"), "labels"),
}
_CLASSES = ("classes", "class_names", "label_names")
Parts = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Images and labels by part, as `Splits` has them, not checked yet.

    Attributes:
        images: uint8, N×H×W or N×H×W×C, by "train", "test" and "val"; not all need be there.
        labels: Integers, indices into `classes`.
        classes: Class names.
        notes: What was changed, in words.
    """

    images: Parts
    labels: Parts
    classes: tuple[str, ...]
    notes: tuple[str, ...]


def name_arrays(names: Iterable[str], where: str) -> dict[str, str]:
    """Return what the arrays of a file are called here, by the names that they have in it.

    Known are `train_images` and the like with the words of `PARTS` and `_KINDS` in any order
    (`x_train`, `val_labels`), without a part (`images`), and `classes`. Others are left out.

    Raises:
        RequestError: Two arrays have one meaning.
    """
    found: dict[str, str] = {}
    for name in names:
        words = re.split(r"[_\s]+", name.lower())
        parts = [PARTS[word] for word in words if word in PARTS] or ["train"]
        kinds = [_KINDS[word] for word in words if word in _KINDS]
        if name.lower() in _CLASSES:
            meaning = "classes"
        elif len(kinds) == 1 and len(words) == len(kinds) + sum(word in PARTS for word in words):
            meaning = f"{parts[0]}_{kinds[0]}"
        else:
            continue
        if meaning in found.values():
            first = next(key for key, value in found.items() if value == meaning)
            raise RequestError(f"{where}: '{first}' and '{name}' both mean {meaning}; wanted one")
        found[name] = meaning
    return found


def arrange(arrays: Mapping[str, np.ndarray], where: str) -> Layout:
    """Return arrays by the names of `name_arrays` as images, labels and classes.

    Raises:
        RequestError: Class names or labels that no meaning can be given to.
    """
    images, labels = (
        {name.removesuffix(kind): array for name, array in arrays.items() if name.endswith(kind)}
        for kind in ("_images", "_labels")
    )
    notes: list[str] = []
    images = _channels_last(_eight_bits(images, notes), notes)
    names: Sequence[str] | None = None
    if "classes" in arrays:
        names = _class_names(arrays["classes"], where)
    labels = _one_column(labels, len(names) if names else None, notes)
    if labels and all(array.dtype.kind in "US" for array in labels.values()):
        labels, names = _from_texts(labels, names, where)
    elif names is None:
        labels, names = _from_numbers(labels, where)
    elif _counts_from_one(labels, len(names)):
        labels = {part: array - 1 for part, array in labels.items()}
        notes.append(f"labels 1 to {len(names)} count the classes from 1")
    return Layout(images=images, labels=labels, classes=tuple(names or ()), notes=tuple(notes))


def order_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Return different names in order: by number where all are whole numbers, else by letters."""
    different = set(names)
    if all(re.fullmatch(r"-?[0-9]+", name) for name in different):
        return tuple(sorted(different, key=lambda name: (int(name), name)))
    return tuple(sorted(different))


def _eight_bits(images: Parts, notes: list[str]) -> Parts:
    """Return images as uint8 where their scale is certain: 0 to 1, or all of 0 to 255."""
    kinds = {array.dtype.kind for array in images.values()}
    if kinds == {"b"}:
        notes.append("images of true and false are black (false) and white (true)")
        return {part: array.astype(np.uint8) * np.uint8(255) for part, array in images.items()}
    there = all(array.size for array in images.values())
    stored = all(array.dtype == np.uint8 for array in images.values())
    if stored or not there or kinds not in ({"f"}, {"i"}, {"u"}):
        return images
    low = np.min([array.min() for array in images.values()])
    high = np.max([array.max() for array in images.values()])
    whole = all(bool(np.all(array == np.rint(array))) for array in images.values())
    if low >= 0 and high <= 1 and not whole:  # NaN is neither
        notes.append("images between 0 and 1 are scaled to 0 to 255 and rounded")
        return {part: np.rint(array * 255.0).astype(np.uint8) for part, array in images.items()}
    if low >= 0 and 128 <= high <= 255 and whole:
        return {part: array.astype(np.uint8) for part, array in images.items()}
    return images


def _channels_last(images: Parts, notes: list[str]) -> Parts:
    """Return N×C×H×W images as N×H×W×C."""
    first = images and all(
        array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[3] not in (1, 3)
        for array in images.values()
    )
    if not first:
        return images
    notes.append("images are N×C×H×W")
    return {part: array.transpose(0, 2, 3, 1) for part, array in images.items()}


def _class_names(names: np.ndarray, where: str) -> tuple[str, ...]:
    if names.dtype.kind == "S":
        try:
            names = np.char.decode(names, "utf-8")
        except UnicodeDecodeError as error:
            raise RequestError(f"{where}: classes are not UTF-8 ({error})") from error
    if names.ndim != 1 or names.dtype.kind != "U":
        raise RequestError(
            f"{where}: classes is {described(names)}; wanted one text (dtype str) a class"
        )
    return tuple(names.tolist())


def _one_column(labels: Parts, n_classes: int | None, notes: list[str]) -> Parts:
    """Return labels of one column, or of one row, and those that are one-hot, as N."""
    shapes = [array.shape for array in labels.values()]
    if not all(len(shape) == 2 and 0 not in shape for shape in shapes):
        return labels
    for column in (1, 0):
        if all(shape[column] == 1 for shape in shapes):
            return {part: array.ravel() for part, array in labels.items()}
    width = shapes[0][1]
    if (
        all(shape[1] == width for shape in shapes)
        and n_classes in (None, width)
        and all(map(_is_one_hot, labels.values()))
    ):
        notes.append("labels are one-hot")
        return {part: array.argmax(1) for part, array in labels.items()}
    return labels


def _is_one_hot(labels: np.ndarray) -> bool:
    if labels.dtype.kind not in "biuf":
        return False
    return bool(np.all((labels == 0) | (labels == 1)) and np.all((labels == 1).sum(1) == 1))


def _from_texts(
    labels: Parts, names: Sequence[str] | None, where: str
) -> tuple[Parts, Sequence[str]]:
    """Return labels that are class names as numbers."""
    texts: dict[str, list[str]] = {}
    for part, array in labels.items():
        try:
            decoded = np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array
        except UnicodeDecodeError as error:
            raise RequestError(f"{where}: {part}_labels are not UTF-8 ({error})") from error
        texts[part] = np.ravel(decoded).tolist()
    known = names or order_classes(texts["train"])
    numbered = {
        part: number_labels(found, known, f"{where}: {part}_labels")
        for part, found in texts.items()
    }
    return numbered, known


def number_labels(found: Sequence[str], classes: Sequence[str], what: str) -> np.ndarray:
    """Return class names as indices into `classes`, int64.

    Raises:
        RequestError: One is not among them.
    """
    places = {name: place for place, name in enumerate(classes)}
    for index, name in enumerate(found):
        if name not in places:
            raise RequestError(
                f"{what} holds '{name}' at index {index}, which is none of the {len(classes)} "
                "classes"
            )
    return np.array([places[name] for name in found], dtype=np.int64)


def _from_numbers(labels: Parts, where: str) -> tuple[Parts, Sequence[str]]:
    """Return labels as the ranks of their numbers, which become the names of the classes."""
    for part, array in labels.items():
        check_integers(array, f"{where}: {part}_labels")
    values = np.unique(labels["train"])
    numbered = {}
    for part, array in labels.items():
        foreign = np.flatnonzero(~np.isin(array, values))
        if foreign.size:
            raise RequestError(
                f"{where}: {part}_labels holds {array[foreign[0]]} at index {foreign[0]}: no "
                "training image has that label"
            )
        numbered[part] = np.searchsorted(values, array)
    return numbered, [str(value) for value in values.tolist()]


def _counts_from_one(labels: Parts, n_classes: int) -> bool:
    plain = all(a.ndim == 1 and a.size and a.dtype.kind in "iu" for a in labels.values())
    return (
        plain
        and all(array.min() >= 1 and array.max() <= n_classes for array in labels.values())
        and len(np.unique(labels["train"])) == n_classes
    )
