"""Read a user's own images, in whichever of the known layouts they are."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from harness.data.folder import ImageList, list_folder
from harness.data.image import EncodedImage, Header, Picture, image_sha256
from harness.data.layouts import arrange, name_arrays
from harness.data.mat import mat_files, read_mat
from harness.data.npz import DAMAGED, Arrays, check_counts, check_parts, match_classes, read_arrays
from harness.data.splits import FolderSplit, MemorySplit, Split, read_headers, to_tensor
from harness.data.table import list_csv, list_parquet, parquet_files
from harness.errors import CellError, RequestError
from harness.spec import DatasetSpec
from harness.util.files import file_sha256

# First bytes of archives, some way into the file for tar.
_ARCHIVES = {
    "zip": (0, b"PK\x03\x04"),
    "gzip": (0, b"\x1f\x8b"),
    "bzip2": (0, b"BZh"),
    "xz": (0, b"\xfd7zXZ\x00"),
    "zstd": (0, b"\x28\xb5\x2f\xfd"),
    "rar": (0, b"Rar!"),
    "7z": (0, b"7z\xbc\xaf\x27\x1c"),
    "tar": (257, b"ustar"),
}
_MOST_NAMES = 8


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


def is_array_file(path: Path) -> bool:
    """Whether what is in a file does not depend on the network that it is read for."""
    return path.suffix.lower() in (".npz", ".mat")


def read_own(
    path: Path,
    spec: DatasetSpec | None,
    *,
    image_size: int,
    memory_limit_gb: float,
    one_part: bool,
) -> OwnImages:
    """Return the images of a file or folder of the user's.

    Args:
        path: An .npz or .mat file, a folder of images, a CSV of paths, or Parquet files.
        spec: The data set that they stand in for, whose labels they get.
        image_size: Side that images are resized to where their sizes differ.
        memory_limit_gb: Image files that would take more, in 10^9 bytes, are decoded by workers
            as they are used.
        one_part: Whether there is one part, of which the test images are taken.

    Raises:
        RequestError: Something is missing, damaged, or has no certain meaning.
        OSError: Something cannot be read.
    """
    if not path.is_dir() and not path.is_file() and path.exists():
        raise RequestError(f"{path}: neither a regular file nor a folder")
    listed = _list_images(path, one_part)
    if listed is not None:
        return _from_list(path, listed, spec, image_size, memory_limit_gb)
    files = mat_files(path)
    if files:
        arrays, notes = read_mat(files)
        _require({*arrays}, [*arrays], one_part, path)
        lines = "".join(f"{file.name} {file_sha256(file)}\n" for file in files.values())
        digest = hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()
        digest_of = "names and contents of the files"
    else:
        arrays, notes = _read_npz(path, one_part)
        digest, digest_of = file_sha256(path), "bytes of the file"
    own = _from_arrays(path, arrays, spec, digest, digest_of)
    return replace(own, notes=(*own.notes, *notes))


def _list_images(path: Path, one_part: bool) -> ImageList | None:
    """Return the image files of a folder or table; None where `path` holds arrays."""
    parquet = parquet_files(path)
    if parquet:
        return list_parquet(parquet, str(path))
    if path.is_dir():
        return None if mat_files(path) else list_folder(path, one_part=one_part)
    return list_csv(path) if path.suffix.lower() in (".csv", ".tsv") else None


def _from_list(
    path: Path, listed: ImageList, spec: DatasetSpec | None, image_size: int, memory_limit_gb: float
) -> OwnImages:
    """Return the images of files, with the labels of `spec` where there is one."""
    labels = {part: files.labels for part, files in listed.parts.items()}
    check_counts(labels, listed.classes, str(path))
    classes, places = _match(listed.classes, spec, path)
    files = [file for part in _order(listed.parts) for file in listed.parts[part].files]
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
    numbers = np.concatenate([labels[part] for part in _order(labels)])
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


def _order(parts: Mapping[str, object]) -> list[str]:
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
    for part in _order(listed.parts):
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


def _from_arrays(
    path: Path,
    arrays: Arrays,
    spec: DatasetSpec | None,
    digest: str,
    digest_of: str,
) -> OwnImages:
    """Return the images of arrays, with the labels of `spec` where there is one."""
    layout = arrange(arrays, str(path))
    parts = {part: (layout.images[part], layout.labels[part]) for part in _order(layout.images)}
    check_parts(parts, layout.classes, str(path))
    channels = channels_of(layout.images["train"])
    if spec is not None and channels != spec.channels:
        raise RequestError(
            f"{path}: train_images have {channels} channel(s); {spec.label} has {spec.channels}"
        )
    classes, places = _match(layout.classes, spec, path)
    marks = ["validation images apart"] if "val" in parts else []
    return OwnImages(
        parts={
            part: MemorySplit(to_tensor(images), torch.from_numpy(places[labels]))
            for part, (images, labels) in parts.items()
        },
        classes=classes,
        channels=channels,
        sha256=mark_digest(digest, *marks),
        digest_of=digest_of,
        notes=layout.notes,
    )


def _read_npz(path: Path, one_part: bool) -> tuple[Arrays, list[str]]:
    """Return the arrays of an .npz file by what they mean, and a note on the others."""
    _refuse_archive(path)
    unknown: list[str] = []

    def choose(names: Iterable[str]) -> Mapping[str, str]:
        named = name_arrays(names, str(path))
        _require({*named.values()}, [*names], one_part, path)
        unknown.extend(name for name in names if name not in named)
        return named

    arrays = read_arrays(path, choose)
    return arrays, [f"left out: array(s) {_few(unknown)}"] if unknown else []


def _require(meanings: set[str], names: list[str], one_part: bool, path: Path) -> None:
    """Raise RequestError where images or labels of a part are missing."""
    parts = ["train"] if one_part else ["train", "test"]
    parts += sorted({name.partition("_")[0] for name in meanings} - {*parts, "classes"})
    for name in (f"{part}_{kind}" for part in parts for kind in ("images", "labels")):
        if name not in meanings:
            share = " (or --set data.test_share=0.2)" if name.startswith("test") else ""
            raise RequestError(
                f"{path}: array '{name}' is missing; found: {_few(names)}; wanted: train_images, "
                f"train_labels, test_images, test_labels{share}, classes"
            )


def _few(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _refuse_archive(path: Path) -> None:
    """Raise RequestError for an archive of anything but arrays."""
    with path.open("rb") as file:
        head = file.read(512)
    for kind, (start, magic) in _ARCHIVES.items():
        if head[start:].startswith(magic) and not (kind == "zip" and _may_hold_arrays(path)):
            raise RequestError(f"{path}: a {kind} archive: unpack it, and name the folder")


def _may_hold_arrays(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".npy") for name in archive.namelist())
    except DAMAGED:
        return path.suffix.lower() == ".npz"


def channels_of(images: np.ndarray) -> int:
    """Return the channels of N×H×W or N×H×W×C images."""
    return 1 if images.ndim == 3 else images.shape[3]


def _match(
    classes: tuple[str, ...], spec: DatasetSpec | None, path: Path
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the classes to use, and the place of each class among them."""
    if spec is None:
        return classes, np.arange(len(classes))
    return spec.classes, match_classes(classes, spec.classes, f"{path} as {spec.label}")
