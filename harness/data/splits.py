"""The images of a split, in memory or in files, handed out in batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from harness.data.folder import decode_image
from harness.errors import CellError, RequestError


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

    paths: tuple[Path, ...]
    labels: Tensor
    channels: int
    size: tuple[int, int]
    workers: int

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
