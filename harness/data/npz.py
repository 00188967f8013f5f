"""Read arrays from an .npz file, and check images and labels of any origin.

An error is one line that names the file, the array and what would be right. This module imports no
torch and reads no pickle.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from harness.errors import RequestError
from harness.spec import DatasetSpec, Splits

Arrays = dict[str, np.ndarray]
# Exceptions of numpy and Pillow for files that are cut short, altered or of another kind.
DAMAGED = (
    *(OSError, ValueError, EOFError, MemoryError, RuntimeError, SyntaxError),
    *(zlib.error, zipfile.BadZipFile),
)


def open_npz(path: Path) -> np.lib.npyio.NpzFile:
    """Open an .npz file, whose arrays `read_array` reads."""
    try:
        archive = np.load(path, allow_pickle=False)
    except DAMAGED:
        archive = None
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise RequestError(f"{path}: not an .npz file as numpy.savez writes it, or a damaged one")
    return archive


def read_array(archive: np.lib.npyio.NpzFile, name: str, path: Path) -> np.ndarray:
    """Return one array of an open .npz file."""
    try:
        array = archive[name]
    except DAMAGED as error:
        if "Object arrays" in str(error):
            raise RequestError(
                f"{path}: array '{name}' holds Python objects, which are not read; save it with "
                "a plain dtype (text: dtype=str)"
            ) from error
        raise RequestError(f"{path}: array '{name}' is damaged ({error})") from error
    if not isinstance(array, np.ndarray):
        raise RequestError(f"{path}: '{name}' is not an array as numpy.savez writes it")
    return array


def check_parts(
    parts: Mapping[str, tuple[np.ndarray, np.ndarray]], classes: Sequence[str], where: str
) -> None:
    """Check everything that the rest of the harness takes for granted about images and labels.

    `where` begins the messages: the file or data set.

    Raises:
        RequestError: The first thing that is wrong.
    """
    check_classes(classes, where)
    for name, (images, labels) in parts.items():
        _check_images(images, f"{where}: {name}_images")
        check_integers(labels, f"{where}: {name}_labels")
        outside = np.flatnonzero((labels < 0) | (labels >= len(classes)))
        if outside.size:
            raise RequestError(
                f"{where}: {name}_labels holds {labels[outside[0]]} at index {outside[0]}; wanted "
                f"0 to {len(classes) - 1} ({len(classes)} classes)"
            )
        if len(images) != len(labels):
            raise RequestError(
                f"{where}: {len(images)} {name}_images but {len(labels)} {name}_labels; "
                "wanted one label an image"
            )
        found, wanted = images.shape[1:], parts["train"][0].shape[1:]
        if found != wanted:
            raise RequestError(
                f"{where}: train_images are {_dimensions(wanted)}, {name}_images "
                f"{_dimensions(found)}; wanted the same"
            )
    check_counts({name: labels for name, (_, labels) in parts.items()}, classes, where)


def check_classes(classes: Sequence[str], where: str) -> None:
    """Raise RequestError unless there are two classes or more, each with its own name."""
    if len(classes) < 2:
        raise RequestError(f"{where}: {len(classes)} class(es); wanted 2 or more")
    for number, name in enumerate(classes):
        if not name.strip():
            raise RequestError(f"{where}: class {number} has an empty name")
        if name in classes[:number]:
            raise RequestError(f"{where}: class name '{name}' stands twice; wanted it once")


def _check_images(images: np.ndarray, what: str) -> None:
    """Raise RequestError unless `images` is uint8, N×H×W or N×H×W×C with C of 1 or 3."""
    grey = images.ndim == 3
    colour = images.ndim == 4 and images.shape[3] in (1, 3)
    if images.dtype == np.uint8 and (grey or colour) and 0 not in images.shape[1:]:
        return
    advice = ""
    if images.dtype != np.uint8 and images.dtype.kind in "iuf" and images.size:
        advice = (
            ", or all parts from 0 to 1 with values between, or whole numbers to 255; these are "
            f"{images.min():g} to {images.max():g}"
        )
    raise RequestError(f"{what} is {described(images)}; wanted uint8 N×H×W or N×H×W×3{advice}")


def check_integers(labels: np.ndarray, what: str) -> None:
    """Raise RequestError unless `labels` are integers in one dimension."""
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise RequestError(
            f"{what} is {described(labels)}; wanted integers, N (or N×1, one-hot or texts, in all "
            "parts alike)"
        )


def check_counts(labels: Mapping[str, np.ndarray], classes: Sequence[str], where: str) -> None:
    """Raise RequestError for a class with no training image, or a part without images."""
    counts = np.bincount(labels["train"].astype(np.int64), minlength=len(classes))
    empty = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    if empty:
        more = f" (and {len(empty) - 1} more)" if len(empty) > 1 else ""
        raise RequestError(f"{where}: no training image of class '{empty[0]}'{more}")
    for part, numbers in labels.items():
        if len(numbers) == 0:
            raise RequestError(f"{where}: no {part} images")


def match_classes(
    found: tuple[str, ...], spec: DatasetSpec | None, path: Path
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the classes to use, those of `spec` if there is one, and where `found` are there."""
    if spec is None:
        return found, np.arange(len(found))
    wrong = [f"'{name}' is missing" for name in spec.classes if name not in found][:1]
    wrong += [f"'{name}' is not one of them" for name in found if name not in spec.classes][:1]
    if wrong:
        raise RequestError(
            f"{path} as {spec.label}: its {len(found)} classes are not the {len(spec.classes)} "
            f"wanted: {', '.join(wrong)}"
        )
    return spec.classes, np.array([spec.classes.index(name) for name in found], dtype=np.int64)


def arrays_sha256(splits: Splits) -> str:
    """Return the SHA-256 of the arrays, whatever layout in memory and integer type they have."""
    digest = hashlib.sha256()
    for images, labels in splits.parts.values():
        digest.update(str(images.shape).encode())
        digest.update(np.ascontiguousarray(images).data)
        digest.update(labels.astype("<i8").data)
    return digest.hexdigest()


def described(array: np.ndarray) -> str:
    """Return an array's type and shape, e.g. "float32 100×28×28"."""
    return f"{array.dtype} {_dimensions(array.shape)}"


def _dimensions(shape: tuple[int, ...]) -> str:
    return "×".join(str(length) for length in shape) or "(a single value)"
