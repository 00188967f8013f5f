"""The images of a split, in memory or in files, handed out in batches."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

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


class Split(Protocol):
    """The training or the test images of a data set, wherever they are."""

    @property
    def labels(self) -> Tensor:
        """Class of each image: int64, N."""
        ...

    def __len__(self) -> int: ...

    def batches(
        self, order: Tensor | None, batch_size: int, drop_last: bool = False
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images, uint8 B×C×H×W in any memory format, and labels, int64 B, on the CPU.

        Args:
            order: Indices of the images wanted, int64; None: all, as they come.
            batch_size: Images a batch.
            drop_last: Leave out a last batch with fewer.
        """
        ...


@dataclass(frozen=True, eq=False)
class MemorySplit:
    """Images in memory: uint8, N×C×H×W in any memory format; labels int64, N."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batches(
        self, order: Tensor | None, batch_size: int, drop_last: bool = False
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches as `Split` says."""
        for chosen in _index_batches(len(self), order, batch_size, drop_last):
            yield self.images[chosen], self.labels[chosen]


@dataclass(frozen=True, eq=False)
class SubsetSplit:
    """Some images of a split: those at `rows`, int64 N, in that order."""

    split: Split
    rows: Tensor

    @property
    def labels(self) -> Tensor:
        """Class of each image: int64, N."""
        return self.split.labels[self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def batches(
        self, order: Tensor | None, batch_size: int, drop_last: bool = False
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches as `Split` says."""
        rows = self.rows if order is None else self.rows[order]
        return self.split.batches(rows, batch_size, drop_last)


def images_in_memory(split: Split) -> tuple[Tensor, Tensor] | None:
    """Return all images that are in memory and the rows of a split among them; None: in files."""
    if isinstance(split, MemorySplit):
        return split.images, torch.arange(len(split))
    if isinstance(split, SubsetSplit) and (found := images_in_memory(split.split)) is not None:
        images, rows = found
        return images, rows[split.rows]
    return None


def join_splits(first: Split, second: Split) -> Split:
    """Return the images of two splits that were read alike, those of the first one first."""
    labels = torch.cat([first.labels, second.labels])
    if isinstance(first, FolderSplit) and isinstance(second, FolderSplit):
        return replace(first, paths=first.paths + second.paths, labels=labels)
    found = [images_in_memory(split) for split in (first, second)]
    images = [part[0][part[1]] for part in found if part is not None]
    if len(images) < 2:
        raise ValueError("one split is in memory, and the other in files")
    return MemorySplit(torch.cat(images), labels)


def _count_workers() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(_MAX_WORKERS, cores or 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class FolderSplit(Dataset[Tensor | str]):
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

    def __getitem__(self, chosen: list[int]) -> Tensor | str:
        """Return a batch of images, B×C×H×W, or what is wrong with one of them.

        An exception would come out of a worker with its whole traceback for a message.
        """
        try:
            images = [decode_image(self.paths[i], self.channels, self.size) for i in chosen]
        except RequestError as error:
            return str(error)
        return to_tensor(np.stack(images))

    def batches(
        self, order: Tensor | None, batch_size: int, drop_last: bool = False
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches as `Split` says.

        Raises:
            CellError: An image is damaged.
        """
        chosen = list(_index_batches(len(self), order, batch_size, drop_last))
        loader = DataLoader(
            self,
            batch_size=None,
            sampler=[indices.tolist() for indices in chosen],
            num_workers=self.workers,
            # Drawing from the global generator would make its state depend on how often images
            # are read.
            generator=torch.Generator(),
        )
        for indices, images in zip(chosen, loader, strict=True):
            if isinstance(images, str):
                raise CellError(images)
            yield images, self.labels[indices]


class _Headers(Dataset[list[Header] | str]):
    """Headers that worker processes read, some at a time."""

    def __init__(self, files: Sequence[Picture]) -> None:
        self.files = files

    def __getitem__(self, start: int) -> list[Header] | str:
        try:
            return [read_header(file) for file in self.files[start : start + _HEADERS_AT_A_TIME]]
        except RequestError as error:
            return str(error)


def read_headers(files: Sequence[Picture]) -> list[Header]:
    """Return what is known of images before they are decoded.

    Raises:
        RequestError: A file is not an image, or cannot be used.
    """
    if len(files) < _FEW_HEADERS:
        return [read_header(file) for file in files]
    loader = DataLoader(
        _Headers(files),
        batch_size=None,
        sampler=range(0, len(files), _HEADERS_AT_A_TIME),
        num_workers=_count_workers(),
        generator=torch.Generator(),
    )
    headers: list[Header] = []
    for found in loader:
        if isinstance(found, str):
            raise RequestError(found)
        headers += found
    return headers


def choose_share(labels: Tensor, share: float, seed: int) -> Tensor:
    """Return which images to test on, drawn at random from each class alike: booleans N.

    Args:
        labels: The class of each image, int64 N.
        share: The share of each class, rounded, but one image at least, and not all.
        seed: The seed of the draw.
    """
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    for label in labels.bincount().nonzero()[:, 0]:
        members = (labels == label).nonzero()[:, 0]
        count = min(max(round(share * len(members)), 1), len(members) - 1)
        order = torch.randperm(len(members), generator=generator)
        chosen[members[order[:count]]] = True
    return chosen


def _index_batches(
    length: int, order: Tensor | None, batch_size: int, drop_last: bool
) -> Iterator[Tensor]:
    """Yield `order`, or 0 to length - 1, in pieces of `batch_size`."""
    indices = torch.arange(length) if order is None else order
    for start in range(0, len(indices), batch_size):
        piece = indices[start : start + batch_size]
        if len(piece) == batch_size or not drop_last:
            yield piece


def to_tensor(images: np.ndarray) -> Tensor:
    """Return N×H×W or N×H×W×C images as N×C×H×W, without copying contiguous ones."""
    tensor = torch.from_numpy(np.ascontiguousarray(images))
    return tensor.unsqueeze(1) if tensor.ndim == 3 else tensor.permute(0, 3, 1, 2)
