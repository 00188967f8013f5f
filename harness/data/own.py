"""Read a user's own images, in whichever of the known layouts they are."""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path

from harness.data.folder import ImageList, list_folder
from harness.data.layouts import arrange, name_arrays
from harness.data.listed import OwnImages, digest_files, mark_digest, read_listed
from harness.data.mat import mat_files, read_mat
from harness.data.npz import DAMAGED, Arrays, check_parts, match_classes, open_npz, read_array
from harness.data.splits import memory_splits
from harness.data.table import list_csv, list_parquet, parquet_files
from harness.errors import RequestError
from harness.spec import DatasetSpec
from harness.util.files import file_sha256

# Where and with which bytes archives begin.
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


def read_own(
    path: Path,
    spec: DatasetSpec | None,
    *,
    image_size: int,
    memory_limit_gb: float,
    one_part: bool,
) -> OwnImages:
    """Return the images of a file or folder of the user's, as `load_data` says.

    With `one_part`, there is one part, of which the test images are taken.
    """
    if not path.is_dir() and not path.is_file() and path.exists():
        raise RequestError(f"{path}: neither a regular file nor a folder")
    parquet, mat = parquet_files(path), mat_files(path)
    listed: ImageList | None = None
    if parquet:
        listed = list_parquet(parquet, str(path))
    elif path.suffix.lower() in (".csv", ".tsv") and not path.is_dir():
        listed = list_csv(path)
    elif path.is_dir() and not mat:
        listed = list_folder(path, one_part=one_part)
    if listed is not None:
        return read_listed(path, listed, spec, image_size, memory_limit_gb)
    if mat:
        arrays, notes = read_mat(mat)
        _require(arrays, [*arrays], one_part, path)
        names = [file.name for file in mat.values()]
        digest = digest_files(names, map(file_sha256, mat.values()))
        digest_of = "names and contents of the files"
    else:
        arrays, notes = _read_npz(path, one_part)
        digest, digest_of = file_sha256(path), "bytes of the file"
    parts, found, changes = arrange(arrays, str(path))
    check_parts(parts, found, str(path))
    channels = parts["train"][0].shape[3] if parts["train"][0].ndim == 4 else 1
    if spec is not None and channels != spec.channels:
        raise RequestError(
            f"{path}: train_images have {channels} channel(s); {spec.label} has {spec.channels}"
        )
    classes, places = match_classes(found, spec, path)
    return OwnImages(
        parts=memory_splits({part: (images, places[n]) for part, (images, n) in parts.items()}),
        classes=classes,
        channels=channels,
        sha256=mark_digest(digest, *(["validation images apart"] if "val" in parts else [])),
        digest_of=digest_of,
        notes=(*changes, *notes),
    )


def _read_npz(path: Path, one_part: bool) -> tuple[Arrays, list[str]]:
    """Return the arrays of an .npz file by what they mean, and a note on the others."""
    _refuse_archive(path)
    with open_npz(path) as archive:
        named = name_arrays(archive.files, str(path))
        _require(named, archive.files, one_part, path)
        arrays = {meaning: read_array(archive, name, path) for meaning, name in named.items()}
        unknown = [name for name in archive.files if name not in named.values()]
    return arrays, [f"left out: array(s) {_few(unknown)}"] if unknown else []


def _require(meanings: Collection[str], names: Sequence[str], one_part: bool, path: Path) -> None:
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


def _few(names: Sequence[str]) -> str:
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
