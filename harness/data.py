"""A data set as uint8 tensors, its batches, and what is done to images before a network.

Images stay uint8 up to the device: resized there (bit-equal to Pillow's bilinear resize), then
scaled to [0, 1] and normalised.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import DataLoader, Dataset

from harness.data_files import (
    ImageFolder,
    arrays_sha256,
    check_splits,
    common_size,
    decode_image,
    file_sha256,
    image_channels,
    lines_sha256,
    list_folder,
    match_classes,
    read_npz,
)
from harness.errors import CellError, RequestError
from harness.spec import DatasetSpec, Splits

# What loading code lets through when files are absent, damaged, or cannot be fetched.
_NOT_LOADED = (OSError, RuntimeError, ValueError, TypeError, LookupError, AssertionError, EOFError)
_MAX_WORKERS = 8
# Pillow's: 8 bits of the pixel and 2 to spare leave 22 of 32 for the weights of a resize.
_WEIGHT_BITS = 22
_CACHED_VALUES = 2**19


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
        return _to_tensor(np.stack(images))

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
            # One of its own: the default one's state would depend on how often images are read.
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


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """Where images came from.

    Attributes:
        name: The data set's name for its official images, else the name of the file or folder.
        sha256: Digest of the images and labels.
        digest_of: What exactly was digested, in words.
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
        spec: What is known of it; None for the user's own.
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
    """Return a data set's official images."""
    try:
        splits = spec.load_splits(data_dir, not offline)
    except _NOT_LOADED as error:
        # What torchvision advises after this is for its own callers.
        cause = " ".join(str(error).split()).split(". You can use")[0] or type(error).__name__
        raise RequestError(
            f"{dataset}: no usable images in '{data_dir}' "
            f"({'offline; ' if offline else ''}{cause}); put {spec.files}"
        ) from error
    check_splits(splits, spec.classes, dataset)
    source = DataSource(
        name=dataset,
        sha256=arrays_sha256(splits),
        digest_of="arrays of images and labels",
        official=True,
    )
    return _in_memory(splits, spec.classes, source)


def _load_npz(path: Path, spec: DatasetSpec | None) -> ImageData:
    """Return the images of an .npz file, with the labels of `spec` where there is one."""
    splits, classes = read_npz(path)
    if spec is not None:
        _check_channels(_channels(splits.train_images), spec, path)
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
    if spec is not None:
        folder = _with_classes_of(spec, folder, root)
    paths = folder.train.paths + folder.test.paths
    channels = spec.channels if spec is not None else image_channels(paths[0])
    size = common_size(paths) or (image_size, image_size)
    in_memory = len(paths) * channels * size[0] * size[1] <= memory_limit_gb * 1e9
    train, test = (
        FolderSplit(
            paths=files.paths,
            labels=torch.from_numpy(files.labels),
            channels=channels,
            size=size,
            workers=_count_workers(),
        )
        for files in (folder.train, folder.test)
    )
    return ImageData(
        train=_read_all(train) if in_memory else train,
        test=_read_all(test) if in_memory else test,
        classes=folder.classes,
        channels=channels,
        source=_folder_source(root, paths, in_memory),
    )


def _with_classes_of(spec: DatasetSpec, folder: ImageFolder, root: Path) -> ImageFolder:
    """Return `folder` with its labels turned into those of `spec`."""
    places = match_classes(folder.classes, spec.classes, f"{root} as {spec.label}")
    return ImageFolder(
        classes=spec.classes,
        train=replace(folder.train, labels=places[folder.train.labels]),
        test=replace(folder.test, labels=places[folder.test.labels]),
    )


def _read_all(split: FolderSplit) -> MemorySplit:
    """Return the images of a folder in memory."""
    images = _to_tensor(np.empty((len(split), *split.size, split.channels), dtype=np.uint8))
    start = 0
    try:
        for batch, _ in split.batches(None, batch_size=256):
            images[start : start + len(batch)] = batch
            start += len(batch)
    except CellError as error:
        raise RequestError(str(error)) from error
    return MemorySplit(images, split.labels)


def _count_workers() -> int:
    """Return how many processes are to decode images: the CPU cores that this one may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(_MAX_WORKERS, cores or 1)


def _folder_source(root: Path, paths: tuple[Path, ...], in_memory: bool) -> DataSource:
    """Return where a folder's images came from; contents count where they are read anyway."""
    lines = (
        f"{path.relative_to(root).as_posix()} "
        f"{file_sha256(path) if in_memory else path.stat().st_size}"
        for path in paths
    )
    return DataSource(
        name=root.resolve().name,
        sha256=lines_sha256(lines),
        digest_of=f"names and {'contents' if in_memory else 'sizes'} of the files",
        official=False,
    )


def _check_channels(found: int, spec: DatasetSpec, path: Path) -> None:
    """Raise RequestError unless images have the channels of the data set they stand in for."""
    if found != spec.channels:
        raise RequestError(
            f"{path}: train_images have {found} channel(s); {spec.label} has {spec.channels}"
        )


def _channels(images: np.ndarray) -> int:
    """Return the channels of N×H×W or N×H×W×C images."""
    return 1 if images.ndim == 3 else images.shape[3]


def _in_memory(splits: Splits, classes: tuple[str, ...], source: DataSource) -> ImageData:
    """Return checked arrays as a data set."""
    return ImageData(
        train=MemorySplit(_to_tensor(splits.train_images), _to_labels(splits.train_labels)),
        test=MemorySplit(_to_tensor(splits.test_images), _to_labels(splits.test_labels)),
        classes=classes,
        channels=_channels(splits.train_images),
        source=source,
    )


def _to_tensor(images: np.ndarray) -> Tensor:
    """Return N×H×W or N×H×W×C images as N×C×H×W, without copying contiguous ones."""
    tensor = torch.from_numpy(np.ascontiguousarray(images))
    return tensor.unsqueeze(1) if tensor.ndim == 3 else tensor.permute(0, 3, 1, 2)


def _to_labels(labels: np.ndarray) -> Tensor:
    return torch.from_numpy(labels.astype(np.int64))


def resize_uint8(images: Tensor, size: int) -> Tensor:
    """Return images resized to squares, equal bit for bit to Pillow's bilinear resize.

    This is Pillow's own integer arithmetic (its src/libImaging/Resample.c), on any device.
    torchvision's resize of uint8 images has shorter weights on a CPU, which leave up to 6% of
    the values off by one level (8 to 5 pixels), and interpolates in float32 on a GPU.

    Args:
        images: uint8 B×C×H×W.
        size: Side of the result, in pixels.

    Returns:
        uint8 B×C×`size`×`size`; `images` themselves where they have that size.
    """
    if images.shape[2:] == (size, size):
        return images
    # On a CPU a few at a time, so that what lies between stays in the cache: several times as fast.
    at_a_time = _CACHED_VALUES // (images.shape[1] * size**2)
    at_a_time = max(1, at_a_time) if images.device.type == "cpu" else len(images)
    pieces = torch.split(images, at_a_time)
    # Columns first: each pass rounds, so the order matters.
    return torch.cat([_resize_axis(_resize_axis(piece, 3, size), 2, size) for piece in pieces])


def _resize_axis(images: Tensor, axis: int, size: int) -> Tensor:
    """Return uint8 images with one axis resized."""
    if images.shape[axis] == size:
        return images
    sources, weights = (table.to(images.device) for table in _resize_taps(images.shape[axis], size))
    shape = [*images.shape]
    shape[axis] = size
    total = torch.full(shape, 1 << (_WEIGHT_BITS - 1), dtype=torch.int32, device=images.device)
    along = [1] * images.ndim
    along[axis] = size
    for source, weight in zip(sources, weights, strict=True):
        total.addcmul_(images.index_select(axis, source).int(), weight.view(along))
    return total.bitwise_right_shift_(_WEIGHT_BITS).to(torch.uint8)


@functools.cache
def _resize_taps(length: int, size: int) -> tuple[Tensor, Tensor]:
    """Return what each of `size` pixels is summed from, of `length`: taps × size, both.

    Returns:
        The indices of the source pixels, and their weights as multiples of 2**-22, which add
        up to 1. The filter is a triangle, wider where the image shrinks.
    """
    scale = length / size
    support = max(scale, 1.0)
    centres = (np.arange(size) + 0.5) * scale
    first = np.maximum(centres - support + 0.5, 0).astype(np.int64)
    end = np.minimum(centres + support + 0.5, length).astype(np.int64)
    taps = first[:, None] + np.arange((end - first).max())
    distances = np.abs((taps - centres[:, None] + 0.5) * (1 / support))
    weights = np.where(taps < end[:, None], np.maximum(1 - distances, 0), 0)
    # A running sum adds in Pillow's order, to the last bit.
    weights /= np.cumsum(weights, axis=1)[:, -1:]
    whole = (weights * (1 << _WEIGHT_BITS) + 0.5).astype(np.int32)
    return torch.from_numpy(np.minimum(taps, length - 1).T), torch.from_numpy(whole.T)


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """What a network wants done to uint8 images: resize, scale to [0, 1], normalise.

    Attributes:
        image_size: Side of the result, in pixels.
        mean: Subtracted per channel, in [0, 1]; None: not normalised.
        std: Divided by per channel, in [0, 1]; goes with `mean`.
    """

    image_size: int
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None

    def __post_init__(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise RequestError(f"mean is {self.mean} and std {self.std}; wanted both or neither")

    def __call__(self, images: Tensor) -> Tensor:
        """Return images as float32 B×C×S×S with S the `image_size`, on the same device.

        Args:
            images: uint8 B×C×H×W.

        Raises:
            RequestError: `mean` or `std` has not one value a channel.
        """
        scaled = resize_uint8(images, self.image_size).float().div_(255)
        if self.mean is None or self.std is None:
            return scaled
        mean = _per_channel("mean", self.mean, scaled)
        return scaled.sub_(mean).div_(_per_channel("std", self.std, scaled))


def _per_channel(name: str, values: tuple[float, ...], images: Tensor) -> Tensor:
    """Return one value a channel, C×1×1, on the images' device."""
    channels = images.shape[1]
    if len(values) != channels:
        raise RequestError(
            f"{name} has {len(values)} value(s); wanted {channels}, one a channel of the images"
        )
    return torch.tensor(values, device=images.device).view(-1, 1, 1)


def shift_images(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Return each image moved at random, down and right by -`pixels` to `pixels` each.

    What comes in from outside is 0: black in uint8 images, so shift after `resize_uint8` and
    before `Preprocess` (which leaves images of its own size as they are).

    Args:
        images: B×C×H×W, of any type, on any device.
        pixels: Largest shift.
        generator: Draws the shifts; the same state gives the same on every device.
    """
    count, _, height, width = images.shape
    drawn = torch.randint(
        -pixels, pixels + 1, (2, count, 1), generator=generator, device=generator.device
    )
    down, right = drawn.to(images.device)
    rows = torch.arange(pixels, pixels + height, device=images.device) - down
    columns = torch.arange(pixels, pixels + width, device=images.device) - right
    each = torch.arange(count, device=images.device)
    # Channels go last, so that one index moves all the channels of a pixel.
    padded = pad(images, (pixels,) * 4).permute(0, 2, 3, 1)
    moved = padded[each[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)
