"""List the images of a folder `train/<class>/*`, `test/<class>/*`, or of a table of paths.

An error is one line that names the file. This module imports no torch and opens no image.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.data.image import Picture
from harness.data.layouts import PARTS
from harness.data.npz import check_classes
from harness.errors import RequestError, printable

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_MOST_KINDS = 6
_LAYOUT = "wanted train/<class>/*.png and test/<class>/*.png"


@dataclass(frozen=True, kw_only=True)
class ImageFiles:
    """Image files not yet opened, with their labels, int64; those of a folder sorted by class."""

    files: tuple[Picture, ...]
    labels: np.ndarray


@dataclass(frozen=True, kw_only=True)
class ImageList:
    """The classes and image files of a data set.

    Attributes:
        classes: In the order of the labels.
        parts: The files, by "train", "test" and "val"; not all of them need be there.
        names: The names of the files in the digest, in the same order.
        notes: What was left out, in words.
    """

    classes: tuple[str, ...]
    parts: dict[str, ImageFiles]
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def list_folder(root: Path, *, one_part: bool) -> ImageList:
    """Return the classes and image files of a folder `train/<class>/**`, `test/<class>/**`.

    Classes are in the order of their names. As in torchvision's ImageFolder, images in folders
    within a class's folder belong to the class, and links are followed.

    Args:
        root: The folder; a part `val/<class>/**` is optional.
        one_part: Whether `root` may also be a single part, `<class>/**`.

    Raises:
        RequestError: A folder is missing, or leads back to itself.
        OSError: A folder cannot be read.
    """
    folders = [path for path in sorted(root.iterdir()) if _is_class(path)]
    parts, others = _find_parts(folders, root)
    if one_part and "test" not in parts and not any(_has_classes(parts[part]) for part in parts):
        parts, others = {"train": root}, []
    for part in ("train", "test"):
        if part not in parts and not (one_part and part == "test"):
            single = ", or --set data.test_share=0.2 for <class>/*.png" if others else ""
            raise RequestError(f"{root}: no folder '{part}' in it; {_LAYOUT}{single}")
    on_disk = sorted({p.name for part in parts.values() for p in part.iterdir() if _is_class(p)})
    classes = tuple(map(printable, on_disk))
    check_classes(classes, str(root))
    left_out: list[Path] = []
    listed = {part: _list_part(path, on_disk, left_out) for part, path in parts.items()}
    notes = [_describe_left_out(left_out, root)] if left_out else []
    notes += [f"left out: folder {path.name}" for path in others]
    return ImageList(
        classes=classes,
        parts=listed,
        names=tuple(
            path.relative_to(root).as_posix()
            for part in ("train", "test", "val")
            if part in listed
            for path in listed[part].files
            if isinstance(path, Path)
        ),
        notes=tuple(notes),
    )


def _is_class(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _has_classes(part: Path) -> bool:
    return any(map(_is_class, part.iterdir()))


def _find_parts(folders: Sequence[Path], root: Path) -> tuple[dict[str, Path], list[Path]]:
    """Return the folders that are parts of a data set, and the others."""
    parts: dict[str, Path] = {}
    others = []
    for path in folders:
        part = PARTS.get(path.name.lower())
        if part is None:
            others.append(path)
        elif part in parts:
            raise RequestError(
                f"{root}: both '{parts[part].name}' and '{path.name}' in it; wanted one of them"
            )
        else:
            parts[part] = path
    return parts, others


def _list_part(folder: Path, classes: Sequence[str], left_out: list[Path]) -> ImageFiles:
    """Return the image files below the class folders of a part; note the others in `left_out`."""
    files: list[Path] = []
    labels: list[int] = []
    left_out += [path for path in folder.iterdir() if path.is_file() and _is_noted(path)]
    for label, name in enumerate(classes):
        before = len(files)
        for path, hidden in _walk(folder / name) if (folder / name).is_dir() else ():
            if not hidden and path.suffix.lower() in _SUFFIXES:
                files.append(path)
            elif _is_noted(path):
                left_out.append(path)
        labels += [label] * (len(files) - before)
    return ImageFiles(files=tuple(files), labels=np.array(labels, dtype=np.int64))


def _is_noted(path: Path) -> bool:
    # Hidden files are those of the desktop, unless they look like images.
    return not path.name.startswith(".") or path.suffix.lower() in _SUFFIXES


def _walk(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Yield all files below a folder, in torchvision's order, and whether each is hidden.

    Raises:
        RequestError: A link leads to a folder that it lies in.
    """
    above = {str(folder): frozenset([os.path.realpath(folder)])}
    hidden = {str(folder): False}
    found: list[tuple[str, list[str]]] = []
    for at, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
        found.append((at, sorted(names)))
        for name in folders:
            inside = os.path.join(at, name)  # noqa: PTH118
            real = os.path.realpath(inside)
            if real in above[at]:
                raise RequestError(f"{inside}: a link to a folder that it lies in; remove it")
            above[inside] = above[at] | {real}
            hidden[inside] = hidden[at] or name.startswith(".")
    for at, names in sorted(found):
        yield from ((Path(at, name), hidden[at] or name.startswith(".")) for name in names)


def _raise(error: OSError) -> None:
    raise error


def _describe_left_out(paths: Sequence[Path], root: Path) -> str:
    """Return how many files were left out, and of which kinds."""
    names = [path.relative_to(root).as_posix() for path in paths]
    kinds = Counter(
        "hidden" if "/." in name else Path(name).suffix.lower() or "without an ending"
        for name in names
    )
    named = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(_MOST_KINDS))
    more = f", {len(kinds) - _MOST_KINDS} other kinds" if len(kinds) > _MOST_KINDS else ""
    others = " and others" if len(names) > 1 else ""
    return f"left out: {len(names)} file(s) ({named}{more}): {min(names)}{others}"
