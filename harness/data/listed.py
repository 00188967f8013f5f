"""Read the images of files that are listed by part, alike, into memory or as they are used."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from harness.data.folder import ImageList
from harness.data.image import EncodedImage, Header, Picture, image_sha256
from harness.data.npz import check_counts, match_classes
from harness.data.splits import FolderSplit, MemorySplit, Split, read_headers, to_tensor
from harness.errors import CellError, RequestError
from harness.spec import DatasetSpec


@dataclass(frozen=True, kw_only=True)
class OwnImages:
    """A user's images, checked.

    Attributes:
        parts: The images, by "train", "test" and "val"; the last two need not be there.
        classes: In the order of the labels.
        channels: 1 (grey) or 3 (RGB).
        sha256: Digest of the images and labels.
        digest_of: What `sha256` was computed from, in words.
        notes: What was done to images and left out, in words.
    """

    parts: dict[str, Split]
    classes: tuple[str, ...]
    channels: int
    sha256: str
    digest_of: str
    notes: tuple[str, ...]


@dataclass
class _Treatment:
    """What is done to images in words, and what of it the digest must tell."""

    notes: list[str] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)

    def count(self, number: int, what: str, *, marked: bool = False) -> None:
        """Note something that is done to a number of images, if there are any."""
        if number:
            self.notes.append(f"{number} image(s) {what}")
            if marked:
                self.marks.append(self.notes[-1])


def mark_digest(digest: str, *marks: str) -> str:
    """Return a digest that also tells how images were read; without marks, the same one."""
    return hashlib.sha256("\n".join((digest, *marks)).encode()).hexdigest() if marks else digest


def read_listed(
    path: Path, listed: ImageList, spec: DatasetSpec | None, image_size: int, memory_limit_gb: float
) -> OwnImages:
    """Return the images of files, with the labels of `spec` where there is one.

    Raises:
        RequestError: A class or part has no images, an image cannot be used, or the classes are
            not those of `spec`.
    """
    labels = {part: files.labels for part, files in listed.parts.items()}
    check_counts(labels, listed.classes, str(path))
    classes, places = match_places(listed.classes, spec, path)
    files = [file for part in in_order(listed.parts) for file in listed.parts[part].files]
    headers = read_headers(files)
    treatment = _Treatment(notes=list(listed.notes))
    channels = _channels_of(headers, spec, treatment)
    treatment.count(sum(h.transparent for h in headers), "laid over white", marked=True)
    treatment.count(sum(h.turned for h in headers), "turned by EXIF orientation", marked=True)
    treatment.count(sum(h.frames for h in headers), "of several frames: the first is used")
    sizes = {header.size for header in headers}
    size = sizes.pop() if len(sizes) == 1 else (image_size, image_size)
    in_memory = len(files) * channels * size[0] * size[1] <= memory_limit_gb * 1e9
    # The digest covers the contents of files that are read anyway.
    contents = [image_sha256(file) if in_memory else str(_bytes(file)) for file in files]
    lines = "".join(f"{n} {c}\n" for n, c in zip(listed.names, contents, strict=True))
    numbers = np.concatenate([labels[part] for part in in_order(labels)])
    whole = FolderSplit(
        paths=tuple(files), labels=torch.from_numpy(places[numbers]), channels=channels, size=size
    )
    images = _read_all(whole) if in_memory else None
    parts: dict[str, Split] = {}
    for part, rows in _rows(listed).items():
        parts[part] = (
            MemorySplit(images[rows], whole.labels[rows])
            if images is not None
            else replace(whole, paths=whole.paths[rows], labels=whole.labels[rows])
        )
    if in_memory:
        _note_doubles({part: {*contents[rows]} for part, rows in _rows(listed).items()}, treatment)
    return OwnImages(
        parts=parts,
        classes=classes,
        channels=channels,
        sha256=mark_digest(
            hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest(), *treatment.marks
        ),
        digest_of=f"names and {'contents' if in_memory else 'sizes'} of the files",
        notes=tuple(treatment.notes),
    )


def in_order(parts: Mapping[str, object]) -> list[str]:
    """Return the names of the parts that there are: train, test, val."""
    return [part for part in ("train", "test", "val") if part in parts]


def _channels_of(headers: list[Header], spec: DatasetSpec | None, treatment: _Treatment) -> int:
    """Return the channels that images are read with: 3 where any is in colour."""
    grey = sum(header.grey for header in headers)
    coloured = len(headers) - grey
    channels = spec.channels if spec is not None else 3 if coloured else 1
    if channels == 3 and coloured:
        # Earlier versions looked at the first image alone.
        treatment.count(grey, "grey, read as RGB", marked=spec is None and headers[0].grey)
    if channels == 1:
        treatment.count(coloured, "in colour, read as grey")
    return channels


def _rows(listed: ImageList) -> dict[str, slice]:
    """Return where the images of each part are among all."""
    rows, start = {}, 0
    for part in in_order(listed.parts):
        rows[part] = slice(start, start + len(listed.parts[part].files))
        start = rows[part].stop
    return rows


def _note_doubles(contents: Mapping[str, set[str]], treatment: _Treatment) -> None:
    """Note how many files are in two parts, by their contents."""
    for part in [part for part in contents if part != "train"]:
        treatment.count(len(contents["train"] & contents[part]), f"both in train and in {part}")


def _bytes(file: Picture) -> int:
    return len(file.data) if isinstance(file, EncodedImage) else file.stat().st_size


def _read_all(split: FolderSplit) -> Tensor:
    """Return the images of files, uint8 N×C×H×W."""
    images = to_tensor(np.empty((len(split), *split.size, split.channels), dtype=np.uint8))
    start = 0
    try:
        for batch, _ in split.batches(None, batch_size=256):
            images[start : start + len(batch)] = batch
            start += len(batch)
    except CellError as error:
        raise RequestError(str(error)) from error
    return images


def match_places(
    classes: tuple[str, ...], spec: DatasetSpec | None, path: Path
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the classes to use, and the place of each class among them."""
    if spec is None:
        return classes, np.arange(len(classes))
    return spec.classes, match_classes(classes, spec.classes, f"{path} as {spec.label}")
