"""The images of a split, in memory or in files, handed out in batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from harness.data.image import Header, Picture, decode_image, read_header
from harness.errors import CellError, RequestError

# Processes that decode images.
_MAX_WORKERS = 8
# Fewer headers are read sooner than processes start.
_FEW_HEADERS = 20_000
_HEADERS_AT_A_TIME = 500
Batches = Iterator[tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class MemorySplit:
    """Images in memory.

    Attributes:
        images: uint8, N×C×H×W in any memory format.
        labels: Class of each image of the split, int64.
        rows: Which of `images` those of the split are, int64; None: all, in order.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, order: Tensor | None, batch_size: int) -> Batches:
        """Yield images, uint8 B×C×H×W in any memory format, and labels, int64 B, on the CPU.

        Args:
            order: Indices of the images wanted, int64; None: all, as they come.
            batch_size: Images a batch; the last one may have fewer.
        """
        for chosen in _index_batches(len(self), order, batch_size):
            rows = chosen if self.rows is None else self.rows[chosen]
            yield self.images[rows], self.labels[chosen]


def _count_workers() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(_MAX_WORKERS, cores or 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class FolderSplit:
    """Images that worker processes decode from their files each time they are asked for.

    Attributes:
        paths: The files.
        labels: int64, N.
        channels: 1 (grey) or 3 (RGB).
        size: Height and width of the images handed out, in pixels.
        workers: Number of worker processes; 0 decodes in this one.
    """

    paths: tuple[Picture, ...]
    labels: Tensor
    channels: int
    size: tuple[int, int]
    workers: int = field(default_factory=_count_workers)

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, order: Tensor | None, batch_size: int) -> Batches:
        """Yield batches as `MemorySplit` does.

        Raises:
            CellError: An image is damaged.
        """
        pieces = _index_batches(len(self), order, batch_size)
        try:
            for indices, images in zip(pieces, self.decode(pieces), strict=True):
                yield images, self.labels[indices]
        except RequestError as error:
            raise CellError(str(error)) from error

    def decode(self, pieces: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the images at each piece of indices; a damaged one is a RequestError here."""
        decode = partial(_decode_images, channels=self.channels, size=self.size)
        return _read_in_workers(self.paths, decode, pieces, self.workers)


def _decode_images(files: Sequence[Picture], channels: int, size: tuple[int, int]) -> Tensor:
    return to_tensor(np.stack([decode_image(file, channels, size) for file in files]))


Split = MemorySplit | FolderSplit
"""The training or the test images of a data set, wherever they are."""


def take_rows(split: Split, rows: Tensor) -> Split:
    """Return some images of a split, those at `rows`, int64, in that order."""
    labels = split.labels[rows]
    if isinstance(split, FolderSplit):
        paths = tuple(split.paths[row] for row in rows.tolist())
        return replace(split, paths=paths, labels=labels)
    return replace(split, labels=labels, rows=rows if split.rows is None else split.rows[rows])


def join_splits(first: Split, second: Split) -> Split:
    """Return the images of two splits that were read alike, those of the first one first."""
    labels = torch.cat([first.labels, second.labels])
    if isinstance(first, FolderSplit) and isinstance(second, FolderSplit):
        return replace(first, paths=first.paths + second.paths, labels=labels)
    images = [
        split.images if split.rows is None else split.images[split.rows]
        for split in (first, second)
        if isinstance(split, MemorySplit)
    ]
    if len(images) < 2:
        raise ValueError("one split is in memory, and the other in files")
    return MemorySplit(torch.cat(images), labels)


def _read_in_workers(
    files: Sequence[Picture],
    read: Callable[[Sequence[Picture]], Any],
    pieces: Sequence[Tensor],
    workers: int,
) -> Iterator[Any]:
    """Yield what `read` makes of the files at each piece of indices."""
    # What is collated in a worker is paths alone: the collation reads them.
    loader = DataLoader(
        cast("Dataset[Picture]", files),
        batch_sampler=[indices.tolist() for indices in pieces],
        num_workers=workers,
        collate_fn=partial(_result_or_problem, read),
        # The state of the global generator must not depend on how often images are read.
        generator=torch.Generator(),
    )
    for found in loader:
        if isinstance(found, str):
            raise RequestError(found)
        yield found


def _result_or_problem(
    read: Callable[[Sequence[Picture]], Any], files: Sequence[Picture]
) -> object:
    # An exception would come out of a worker with its whole traceback for a message.
    try:
        return read(files)
    except RequestError as error:
        return str(error)


def read_headers(files: Sequence[Picture]) -> list[Header]:
    """Return what is known of images before they are decoded."""
    pieces = _index_batches(len(files), None, _HEADERS_AT_A_TIME)
    workers = _count_workers() if len(files) >= _FEW_HEADERS else 0
    found = _read_in_workers(files, _read_some_headers, pieces, workers)
    return [header for headers in found for header in headers]


def _read_some_headers(files: Sequence[Picture]) -> list[Header]:
    return [read_header(file) for file in files]


def _index_batches(length: int, order: Tensor | None, batch_size: int) -> Sequence[Tensor]:
    """Return `order`, or 0 to length - 1, in pieces of `batch_size`."""
    indices = torch.arange(length) if order is None else order
    return torch.split(indices, batch_size) if len(indices) else ()


def memory_splits(parts: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, MemorySplit]:
    """Return images, N×H×W or N×H×W×C, and labels by part as splits."""
    return {
        part: MemorySplit(to_tensor(images), torch.from_numpy(labels.astype(np.int64)))
        for part, (images, labels) in parts.items()
    }


def to_tensor(images: np.ndarray) -> Tensor:
    """Return N×H×W or N×H×W×C images as N×C×H×W, without copying contiguous ones."""
    tensor = torch.from_numpy(np.ascontiguousarray(images))
    return tensor.unsqueeze(1) if tensor.ndim == 3 else tensor.permute(0, 3, 1, 2)
