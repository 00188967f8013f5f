"""Read a user's own images, in whichever of the known layouts they are."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from harness.data.folder import ImageList, list_folder
from harness.data.layouts import arrange, name_arrays
from harness.data.listed import OwnImages, in_order, mark_digest, match_places, read_listed
from harness.data.mat import mat_files, read_mat
from harness.data.npz import DAMAGED, Arrays, check_parts, read_arrays
from harness.data.splits import MemorySplit, to_tensor
from harness.data.table import list_csv, list_parquet, parquet_files
from harness.errors import RequestError
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
        return read_listed(path, listed, spec, image_size, memory_limit_gb)
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


def _from_arrays(
    path: Path,
    arrays: Arrays,
    spec: DatasetSpec | None,
    digest: str,
    digest_of: str,
) -> OwnImages:
    """Return the images of arrays, with the labels of `spec` where there is one."""
    layout = arrange(arrays, str(path))
    parts = {part: (layout.images[part], layout.labels[part]) for part in in_order(layout.images)}
    check_parts(parts, layout.classes, str(path))
    channels = channels_of(layout.images["train"])
    if spec is not None and channels != spec.channels:
        raise RequestError(
            f"{path}: train_images have {channels} channel(s); {spec.label} has {spec.channels}"
        )
    classes, places = match_places(layout.classes, spec, path)
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
