"""Bring arrays of other layouts into that of a `--data-file`, where their meaning is certain.

What is not certain stays as it is, and `harness.data.npz.check_parts` refuses it in words. Every
decision is taken over all parts together, so that they are treated alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from harness.data.npz import Arrays, check_integers, described
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
Labels = tuple[Arrays, Sequence[str]]


def in_order(parts: Iterable[str]) -> list[str]:
    """Return the names of the parts that there are: train, test, val."""
    return [part for part in ("train", "test", "val") if part in parts]


def named_parts(name: str) -> list[str]:
    """Return the parts that words in the name of a file say."""
    return [PARTS[word] for word in re.split(r"[^a-z]+", name.lower()) if word in PARTS]


def name_arrays(names: Iterable[str], where: str) -> dict[str, str]:
    """Return the names that arrays have in a file, by what they are called here.

    Known are `train_images` and the like with the words of `PARTS` and `_KINDS` in any order
    (`x_train`, `val_labels`), without a part (`images`), and `classes`. Others are left out.
    """
    found: dict[str, str] = {}
    for name in names:
        words = re.split(r"[_\s]+", name.lower())
        parts = [PARTS[word] for word in words if word in PARTS]
        kinds = [_KINDS[word] for word in words if word in _KINDS]
        if name.lower() in _CLASSES:
            meaning = "classes"
        elif len(kinds) == 1 and len(words) == 1 + len(parts):
            meaning = f"{parts[0] if parts else 'train'}_{kinds[0]}"
        else:
            continue
        if meaning in found:
            raise RequestError(
                f"{where}: '{found[meaning]}' and '{name}' both mean {meaning}; wanted one"
            )
        found[meaning] = name
    return found


def arrange(
    arrays: Arrays, where: str
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], tuple[str, ...], list[str]]:
    """Return arrays by the names of `name_arrays` as images and labels, by part, not checked yet.

    The class names, and what was changed in words, come with them.
    """
    images, labels = (
        {name.removesuffix(kind): array for name, array in arrays.items() if name.endswith(kind)}
        for kind in ("_images", "_labels")
    )
    notes: list[str] = []
    images = _channels_last(_eight_bits(images, notes), notes)
    names: Sequence[str] = ()
    if "classes" in arrays:
        texts = _decode(arrays["classes"], f"{where}: classes")
        if texts.ndim != 1 or texts.dtype.kind != "U":
            raise RequestError(
                f"{where}: classes is {described(texts)}; wanted one text (dtype str) a class"
            )
        names = texts.tolist()
    labels = _one_column(labels, len(names), notes)
    if labels and all(array.dtype.kind in "US" for array in labels.values()):
        labels, names = _from_texts(labels, names, where)
    elif "classes" not in arrays:
        labels, names = _from_numbers(labels, where)
    elif _counts_from_one(labels, len(names)):
        labels = {part: array - 1 for part, array in labels.items()}
        notes.append(f"labels 1 to {len(names)} count the classes from 1")
    return {part: (images[part], labels[part]) for part in in_order(images)}, tuple(names), notes


def order_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Return different names in order: by number where all are whole numbers, else by letters."""
    different = set(names)
    if all(re.fullmatch(r"-?[0-9]+", name) for name in different):
        return tuple(sorted(different, key=lambda name: (int(name), name)))
    return tuple(sorted(different))


def _eight_bits(images: Arrays, notes: list[str]) -> Arrays:
    """Return images as uint8 where their scale is certain: 0 to 1, or all of 0 to 255."""
    arrays = images.values()
    kinds = {array.dtype.kind for array in arrays}
    if kinds == {"b"}:
        notes.append("images of true and false are black (false) and white (true)")
        return {part: array * np.uint8(255) for part, array in images.items()}
    stored = all(array.dtype == np.uint8 for array in arrays)
    if stored or not all(array.size for array in arrays) or kinds not in ({"f"}, {"i"}, {"u"}):
        return images
    low = np.min([array.min() for array in arrays])
    high = np.max([array.max() for array in arrays])
    whole = all(bool(np.all(array == np.rint(array))) for array in arrays)
    if low >= 0 and high <= 1 and not whole:  # NaN is neither
        notes.append("images between 0 and 1 are scaled to 0 to 255 and rounded")
        return {part: np.rint(array * 255.0).astype(np.uint8) for part, array in images.items()}
    if low >= 0 and 128 <= high <= 255 and whole:
        return {part: array.astype(np.uint8) for part, array in images.items()}
    return images


def _channels_last(images: Arrays, notes: list[str]) -> Arrays:
    """Return N×C×H×W images as N×H×W×C."""
    if not images or not all(
        array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[3] not in (1, 3)
        for array in images.values()
    ):
        return images
    notes.append("images are N×C×H×W")
    return {part: array.transpose(0, 2, 3, 1) for part, array in images.items()}


def _decode(texts: np.ndarray, what: str) -> np.ndarray:
    """Return texts that are stored as bytes as texts; other arrays as they are."""
    try:
        return np.char.decode(texts, "utf-8") if texts.dtype.kind == "S" else texts
    except UnicodeDecodeError as error:
        raise RequestError(f"{what} are not UTF-8 ({error})") from error


def _one_column(labels: Arrays, n_classes: int, notes: list[str]) -> Arrays:
    """Return labels of one column, or of one row, and those that are one-hot, as N."""
    shapes = [array.shape for array in labels.values()]
    if not all(len(shape) == 2 and 0 not in shape for shape in shapes):
        return labels
    for column in (1, 0):
        if all(shape[column] == 1 for shape in shapes):
            return {part: array.ravel() for part, array in labels.items()}
    alike = {shape[1] for shape in shapes} <= {n_classes or shapes[0][1]}
    if alike and all(map(_is_one_hot, labels.values())):
        notes.append("labels are one-hot")
        return {part: array.argmax(1) for part, array in labels.items()}
    return labels


def _is_one_hot(labels: np.ndarray) -> bool:
    if labels.dtype.kind not in "biuf":
        return False
    return bool(np.all((labels == 0) | (labels == 1)) and np.all((labels == 1).sum(1) == 1))


def _from_texts(labels: Arrays, names: Sequence[str], where: str) -> Labels:
    """Return labels that are class names as numbers."""
    texts = {
        part: _decode(array, f"{where}: {part}_labels").ravel().tolist()
        for part, array in labels.items()
    }
    known = names or order_classes(texts["train"])
    return {
        part: number_labels(found, known, f"{where}: {part}_labels")
        for part, found in texts.items()
    }, known


def number_labels(found: Sequence[str], classes: Sequence[str], what: str) -> np.ndarray:
    """Return class names as indices into `classes`, int64."""
    places = {name: place for place, name in enumerate(classes)}
    for index, name in enumerate(found):
        if name not in places:
            raise RequestError(
                f"{what} holds '{name}' at index {index}, which is none of the {len(classes)} "
                "classes"
            )
    return np.array([places[name] for name in found], dtype=np.int64)


def _from_numbers(labels: Arrays, where: str) -> Labels:
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


def _counts_from_one(labels: Arrays, n_classes: int) -> bool:
    if not all(a.ndim == 1 and a.size and a.dtype.kind in "iu" for a in labels.values()):
        return False
    numbers = np.arange(1, n_classes + 1)
    return np.array_equal(np.unique(labels["train"]), numbers) and all(
        bool(np.isin(array, numbers).all()) for array in labels.values()
    )
