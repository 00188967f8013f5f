"""Load a data set by name, from wherever its images are, and check it."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Hashable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from harness.data.folder import common_size, image_channels, list_folder
from harness.data.npz import arrays_sha256, check_splits, match_classes, read_npz
from harness.data.splits import FolderSplit, MemorySplit, Split, to_tensor
from harness.errors import CellError, RequestError
from harness.jobs import Job
from harness.registry import find_dataset
from harness.spec import DatasetSpec, ModelSpec, Splits
from harness.util.fetch import fetch, has_digest
from harness.util.files import file_sha256, regular_file

logger = logging.getLogger(__name__)

# Exceptions of loading code when files are absent, damaged, or cannot be fetched.
_NOT_LOADED = (OSError, RuntimeError, ValueError, TypeError, LookupError, AssertionError, EOFError)
# Processes that decode images.
_MAX_WORKERS = 8


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """The origin of images.

    Attributes:
        name: The data set's name for its official images, else the name of the file or folder.
        sha256: Digest of the images and labels.
        digest_of: What `sha256` was computed from, in words.
        official: Whether these are the data set's own images in its own split.
    """

    name: str
    sha256: str
    digest_of: str
    official: bool


@dataclass(frozen=True, kw_only=True)
class ImageData:
    """A data set ready to be used; `classes` are in the order of the labels."""

    train: Split
    test: Split
    classes: tuple[str, ...]
    channels: int
    source: DataSource


def load_data(
    dataset: str,
    spec: DatasetSpec | None,
    *,
    data_dir: Path,
    data_file: Path | None,
    offline: bool,
    image_size: int,
    memory_limit_gb: float,
) -> ImageData:
    """Return the images of a data set, checked.

    Args:
        dataset: The data set's name.
        spec: Its specification; None for the user's own data set.
        data_dir: Folder of the official images, where they are also fetched to.
        data_file: The user's .npz file or image folder `train/<class>/*`, `test/<class>/*`,
            which takes the place of the official images.
        offline: Fetch nothing.
        image_size: Side that images of a folder are resized to where their sizes differ.
        memory_limit_gb: A folder whose images would take more, in 10^9 bytes, is decoded by
            workers as it is used.

    Raises:
        RequestError: Images are missing, damaged, or not those of the data set.
    """
    if data_file is None:
        if spec is None:
            raise RequestError(f"data set '{dataset}' is your own: name its --data-file")
        return _load_official(dataset, spec, data_dir, offline)
    try:
        if data_file.is_dir():
            return _load_folder(data_file, spec, image_size, memory_limit_gb)
        return _load_npz(data_file, spec)
    except OSError as error:
        raise RequestError(f"{data_file}: cannot be read ({error})") from error


def _load_official(dataset: str, spec: DatasetSpec, data_dir: Path, offline: bool) -> ImageData:
    splits = _official_splits(dataset, spec, data_dir, offline)
    check_splits(splits, spec.classes, dataset)
    digest = arrays_sha256(splits)
    if spec.splits_sha256 and digest != spec.splits_sha256:
        raise RequestError(
            f"{dataset}: other images than the official ones: their SHA-256 is {digest}, not "
            f"{spec.splits_sha256}; {spec.advice}"
        )
    source = DataSource(
        name=dataset,
        sha256=digest,
        digest_of="arrays of images and labels",
        official=bool(spec.files or spec.splits_sha256),
    )
    return _in_memory(splits, spec.classes, source)


def _official_splits(dataset: str, spec: DatasetSpec, data_dir: Path, offline: bool) -> Splits:
    """Return the images of the official files, which are fetched where they are not there."""
    for file in spec.files:
        regular_file(data_dir / file.path)
    try:
        return spec.load_splits(data_dir)
    except _NOT_LOADED as error:
        cause = _describe(error)
    if not offline and spec.files:
        logger.info("%s: %s", dataset, cause)
        for file in spec.files:
            path = data_dir / file.path
            fetch(file.url, path, digest=f"md5:{file.md5}", size=file.bytes)
        try:
            return spec.load_splits(data_dir)
        except _NOT_LOADED as error:
            cause = _describe(error)
    advice = "; ".join(filter(None, (_missing_files(spec, data_dir), spec.advice)))
    raise RequestError(
        f"{dataset}: no usable images in '{data_dir}' ({'offline; ' if offline else ''}{cause})"
        f"{'; ' if advice else ''}{advice}"
    )


def _describe(error: Exception) -> str:
    """Return one line, without torchvision's advice to programmers who call it."""
    return " ".join(str(error).split()).split(". You can use")[0] or type(error).__name__


def _missing_files(spec: DatasetSpec, data_dir: Path) -> str:
    """Say which official files to put where, of those that are not there."""
    missing = [
        file for file in spec.files if not has_digest(data_dir / file.path, f"md5:{file.md5}")
    ]
    if not missing:
        return ""
    names = ", ".join(PurePosixPath(file.path).name for file in missing)
    address = missing[0].url.rpartition("/")[0]
    return f"put {names} of {address}/ into {(data_dir / missing[0].path).parent}"


def _load_npz(path: Path, spec: DatasetSpec | None) -> ImageData:
    """Return the images of an .npz file, with the labels of `spec` where there is one."""
    splits, classes = read_npz(path)
    if spec is not None:
        found = _channels(splits.train_images)
        if found != spec.channels:
            raise RequestError(
                f"{path}: train_images have {found} channel(s); {spec.label} has {spec.channels}"
            )
        places = match_classes(classes, spec.classes, f"{path} as {spec.label}")
        classes = spec.classes
        splits = replace(
            splits,
            train_labels=places[splits.train_labels],
            test_labels=places[splits.test_labels],
        )
    source = DataSource(
        name=path.name, sha256=file_sha256(path), digest_of="bytes of the file", official=False
    )
    return _in_memory(splits, classes, source)


def _load_folder(
    root: Path, spec: DatasetSpec | None, image_size: int, memory_limit_gb: float
) -> ImageData:
    """Return the images of a folder, with the labels of `spec` where there is one."""
    folder = list_folder(root)
    classes, places = folder.classes, np.arange(len(folder.classes))
    if spec is not None:
        places = match_classes(classes, spec.classes, f"{root} as {spec.label}")
        classes = spec.classes
    paths = folder.train.paths + folder.test.paths
    channels = spec.channels if spec is not None else image_channels(paths[0])
    size = common_size(paths) or (image_size, image_size)
    in_memory = len(paths) * channels * size[0] * size[1] <= memory_limit_gb * 1e9
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    train, test = (
        FolderSplit(
            paths=files.paths,
            labels=torch.from_numpy(places[files.labels]),
            channels=channels,
            size=size,
            workers=min(_MAX_WORKERS, cores or 1),
        )
        for files in (folder.train, folder.test)
    )
    # The digest covers the contents of files that are read anyway.
    lines = (
        f"{path.relative_to(root).as_posix()} "
        f"{file_sha256(path) if in_memory else path.stat().st_size}\n"
        for path in paths
    )
    return ImageData(
        train=_read_all(train) if in_memory else train,
        test=_read_all(test) if in_memory else test,
        classes=classes,
        channels=channels,
        source=DataSource(
            name=root.resolve().name,
            sha256=hashlib.sha256("".join(lines).encode()).hexdigest(),
            digest_of=f"names and {'contents' if in_memory else 'sizes'} of the files",
            official=False,
        ),
    )


def _read_all(split: FolderSplit) -> MemorySplit:
    """Return the images of a folder in memory."""
    images = to_tensor(np.empty((len(split), *split.size, split.channels), dtype=np.uint8))
    start = 0
    try:
        for batch, _ in split.batches(None, batch_size=256):
            images[start : start + len(batch)] = batch
            start += len(batch)
    except CellError as error:
        raise RequestError(str(error)) from error
    return MemorySplit(images, split.labels)


def _channels(images: np.ndarray) -> int:
    """Return the channels of N×H×W or N×H×W×C images."""
    return 1 if images.ndim == 3 else images.shape[3]


def _in_memory(splits: Splits, classes: tuple[str, ...], source: DataSource) -> ImageData:
    """Return checked arrays as a data set."""
    train, test = (
        MemorySplit(to_tensor(images), torch.from_numpy(labels.astype(np.int64)))
        for images, labels in splits.parts.values()
    )
    return ImageData(
        train=train,
        test=test,
        classes=classes,
        channels=_channels(splits.train_images),
        source=source,
    )


def images_key(job: Job, spec: ModelSpec) -> Hashable:
    """Return what jobs of one request have in common whose images are the same."""
    if job.data_file is None or not job.data_file.is_dir():
        return job.cell.dataset
    return job.cell.dataset, spec.input_size(job.settings), job.settings.memory_limit_gb


def load_job_data(job: Job, spec: ModelSpec) -> ImageData:
    """Load the images that a job names.

    Raises:
        RequestError: They are not there or not right.
    """
    return load_data(
        job.cell.dataset,
        find_dataset(job.cell.dataset),
        data_dir=job.data_dir,
        data_file=job.data_file,
        offline=job.offline,
        image_size=spec.input_size(job.settings),
        memory_limit_gb=job.settings.memory_limit_gb,
    )
