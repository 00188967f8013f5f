"""Read the images of files that are listed by part, alike, into memory or as they are used."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from harness.data.folder import ImageList
from harness.data.image import EncodedImage, Header, Picture
from harness.data.npz import check_counts, match_classes
from harness.data.splits import FolderSplit, MemorySplit, Split, read_headers, to_tensor
from harness.errors import RequestError
from harness.spec import DatasetSpec


@dataclass(frozen=True, kw_only=True)
class OwnImages:
    """A user's images, checked, by part; the rest is as in `ImageData` and `DataSource`."""

    parts: Mapping[str, Split]
    classes: tuple[str, ...]
    channels: int
    sha256: str
    digest_of: str
    notes: tuple[str, ...]


def mark_digest(digest: str, *marks: str) -> str:
    """Return a digest that also tells how images were read; without marks, the same one."""
    return hashlib.sha256("\n".join((digest, *marks)).encode()).hexdigest() if marks else digest


def digest_files(names: Iterable[str], contents: Iterable[str], *marks: str) -> str:
    """Return a digest of files by what each is called and holds, and of how they were read."""
    lines = "".join(f"{name} {content}\n" for name, content in zip(names, contents, strict=True))
    return mark_digest(hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest(), *marks)


def read_listed(
    path: Path, listed: ImageList, spec: DatasetSpec | None, image_size: int, memory_limit_gb: float
) -> OwnImages:
    """Return the images of files, with the labels of `spec` where there is one."""
    labels = {part: listed.labels[rows] for part, rows in listed.parts.items()}
    try:
        check_counts(labels, listed.classes, str(path))
    except RequestError as error:
        # A class may lack images because its files are of other kinds.
        raise RequestError("; ".join((str(error), *listed.notes))) from error
    classes, places = match_classes(listed.classes, spec, path)
    headers = read_headers(listed.files)
    channels = spec.channels if spec is not None else 1 if all(h.grey for h in headers) else 3
    sizes = {header.size for header in headers}
    size = sizes.pop() if len(sizes) == 1 else (image_size, image_size)
    whole = FolderSplit(
        paths=listed.files,
        labels=torch.from_numpy(places[listed.labels]),
        channels=channels,
        size=size,
    )
    parts: dict[str, Split] = {
        part: replace(whole, paths=whole.paths[rows], labels=whole.labels[rows])
        for part, rows in listed.parts.items()
    }
    in_memory = len(headers) * channels * size[0] * size[1] <= memory_limit_gb * 1e9
    contents = [_describe_content(file, in_memory) for file in listed.files]
    treated = _describe_treatment(headers, channels, spec)
    doubles = []
    if in_memory:
        images = _read_all(whole)
        for part, rows in listed.parts.items():
            parts[part] = MemorySplit(images[rows], whole.labels[rows])
            both = {*contents[listed.parts["train"]]} & {*contents[rows]}
            if both and part != "train":
                doubles.append(f"{len(both)} image(s) both in train and in {part}")
    marks = [note for note, marked in treated.items() if marked]
    return OwnImages(
        parts=parts,
        classes=classes,
        channels=channels,
        sha256=digest_files(listed.names, contents, *marks),
        digest_of=f"names and {'contents' if in_memory else 'sizes'} of the files",
        notes=(*listed.notes, *treated, *doubles),
    )


def _describe_content(file: Picture, in_memory: bool) -> str:
    """Return the digest of a file that is read anyway; of another one, the length in bytes."""
    if in_memory:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    return str(len(file.data) if isinstance(file, EncodedImage) else file.stat().st_size)


def _describe_treatment(
    headers: Sequence[Header], channels: int, spec: DatasetSpec | None
) -> dict[str, bool]:
    """Return what is done to images, in words, and whether the digest must tell it."""
    grey = sum(header.grey for header in headers)
    mixed = channels == 3 and grey < len(headers)
    # Earlier versions looked at the first image alone.
    first = spec is None and headers[0].grey
    done = (
        (grey if mixed else 0, "grey, read as RGB", first),
        (len(headers) - grey if channels == 1 else 0, "in colour, read as grey", False),
        (sum(header.transparent for header in headers), "laid over white", True),
        (sum(header.turned for header in headers), "turned by EXIF orientation", True),
        (sum(header.frames for header in headers), "of several frames: the first is used", False),
    )
    return {f"{count} image(s) {words}": marked for count, words, marked in done if count}


def _read_all(split: FolderSplit) -> Tensor:
    """Return the images of files, uint8 N×C×H×W."""
    images = to_tensor(np.empty((len(split), *split.size, split.channels), dtype=np.uint8))
    start = 0
    for batch in split.decode(torch.split(torch.arange(len(split)), 256)):
        images[start : start + len(batch)] = batch
        start += len(batch)
    return images
