"""List the images of a folder `train/<class>/*`, `test/<class>/*`.

An error is one line that names the file. This module imports no torch and opens no image.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.data.image import Picture
from harness.data.layouts import PARTS, in_order, number_labels, order_classes
from harness.data.npz import check_classes
from harness.errors import RequestError, printable

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_MOST_KINDS = 6
_LAYOUT = "wanted train/<class>/*.png and test/<class>/*.png"
Row = tuple[Picture, str, str]
"""An image, the name of its class, and its own name in the digest."""


@dataclass(frozen=True, kw_only=True)
class ImageList:
    """The images of a data set, not opened yet, one part after the other.

    Attributes:
        classes: In the order of the labels.
        files: The images.
        labels: Their classes, int64.
        names: Their names in the digest.
        parts: Where the images of "train", "test" and "val" are; the last two need not be there.
        notes: What was left out, in words.
    """

    classes: tuple[str, ...]
    files: tuple[Picture, ...]
    labels: np.ndarray
    names: tuple[str, ...]
    parts: dict[str, slice]
    notes: tuple[str, ...]


def list_rows(
    rows: Mapping[str, Sequence[Row]],
    classes: Sequence[str] | None,
    where: str,
    notes: Sequence[str] = (),
) -> ImageList:
    """Return images by part as a list; without `classes`, the training images have them all."""
    if "train" not in rows:
        raise RequestError(f"{where}: no train images")
    known = classes or order_classes(label for _, label, _ in rows["train"])
    every: list[Row] = []
    labels, parts = [], {}
    for part in in_order(rows):
        found = [label for _, label, _ in rows[part]]
        labels.append(number_labels(found, known, f"{where}: {part}"))
        parts[part] = slice(len(every), len(every) + len(found))
        every += rows[part]
    names = tuple(map(printable, known))
    check_classes(names, where)
    return ImageList(
        classes=names,
        files=tuple(file for file, _, _ in every),
        labels=np.concatenate(labels),
        names=tuple(name for _, _, name in every),
        parts=parts,
        notes=tuple(notes),
    )


def list_folder(root: Path, *, one_part: bool) -> ImageList:
    """Return the classes and image files of a folder `train/<class>/**`, `test/<class>/**`.

    Classes are in the order of their names. As in torchvision's ImageFolder, images in folders
    within a class's folder belong to the class, and links are followed. A part `val/<class>/**` is
    optional; with `one_part`, `root` may also be a single part, `<class>/**`.
    """
    parts, others = _find_parts(root)
    if one_part and "test" not in parts and not any(map(_folders, parts.values())):
        parts, others = {"train": root}, []
    for part in ("train",) if one_part else ("train", "test"):
        if part not in parts:
            single = ", or --set data.test_share=0.2 for <class>/*.png" if others else ""
            raise RequestError(f"{root}: no folder '{part}' in it; {_LAYOUT}{single}")
    classes = sorted({path.name for folder in parts.values() for path in _folders(folder)})
    rows: dict[str, list[Row]] = {part: [] for part in parts}
    left_out: list[str] = []
    for part, folder in parts.items():
        beside = [path for path in folder.iterdir() if path.is_file() and _is_noted(path)]
        left_out += [path.relative_to(root).as_posix() for path in beside]
        for label in classes:
            for path in _walk(folder / label) if (folder / label).is_dir() else ():
                name = path.relative_to(root).as_posix()
                if "/." not in name and path.suffix.lower() in _SUFFIXES:
                    rows[part].append((path, label, name))
                elif _is_noted(path):
                    left_out.append(name)
    notes = [_describe_left_out(left_out)] if left_out else []
    notes += [f"left out: folder {path.name}" for path in others]
    return list_rows(rows, classes, str(root), notes)


def _folders(folder: Path) -> list[Path]:
    """Return the folders in a folder that are not hidden."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _find_parts(root: Path) -> tuple[dict[str, Path], list[Path]]:
    """Return the folders that are parts of a data set, and the others."""
    parts: dict[str, Path] = {}
    others = []
    for path in _folders(root):
        part = PARTS.get(path.name.lower())
        if part is None:
            others.append(path)
        elif parts.setdefault(part, path) != path:
            raise RequestError(
                f"{root}: both '{parts[part].name}' and '{path.name}' in it; wanted one of them"
            )
    return parts, others


def _is_noted(path: Path) -> bool:
    # Hidden files are those of the desktop, unless they look like images.
    return not path.name.startswith(".") or path.suffix.lower() in _SUFFIXES


def _walk(folder: Path) -> list[Path]:
    """Return all files below a folder, in torchvision's order."""
    above = {str(folder): {os.path.realpath(folder)}}
    found: list[tuple[str, str]] = []
    for at, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
        found += [(at, name) for name in names]
        for name in folders:
            inside = os.path.join(at, name)  # noqa: PTH118
            real = os.path.realpath(inside)
            if real in above[at]:
                raise RequestError(f"{inside}: a link to a folder that it lies in; remove it")
            above[inside] = above[at] | {real}
    return [Path(at, name) for at, name in sorted(found)]


def _raise(error: OSError) -> None:
    raise error


def _describe_left_out(names: Sequence[str]) -> str:
    """Return how many files were left out, and of which kinds."""
    kinds = Counter(
        "hidden" if "/." in name else Path(name).suffix.lower() or "without an ending"
        for name in names
    )
    named = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(_MOST_KINDS))
    more = f", {len(kinds) - _MOST_KINDS} other kinds" if len(kinds) > _MOST_KINDS else ""
    others = " and others" if len(names) > 1 else ""
    return f"left out: {len(names)} file(s) ({named}{more}): {min(names)}{others}"
