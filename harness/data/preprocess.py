"""Turn uint8 images into the input of a network, on the device: resize, scale, normalise, shift."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from harness.errors import RequestError

# As in Pillow: 8 bits of the pixel and 2 to spare leave 22 of 32 for the weights of a resize.
_WEIGHT_BITS = 22
_CACHED_VALUES = 2**19


def resize_uint8(images: Tensor, size: int) -> Tensor:
    """Return images as uint8 B×C×`size`×`size`, bit for bit as Pillow's bilinear resize has them.

    This is Pillow's own integer arithmetic (its src/libImaging/Resample.c), on any device.
    torchvision's resize of uint8 images has shorter weights on a CPU, which leave up to 6% of
    the values off by one level (8 to 5 pixels), and interpolates in float32 on a GPU.
    """
    if images.shape[2:] == (size, size):
        return images
    # On a CPU a few at a time: intermediate results then stay in the cache, which is several times
    # as fast.
    at_a_time = _CACHED_VALUES // (images.shape[1] * size**2)
    at_a_time = max(1, at_a_time) if images.device.type == "cpu" else len(images)
    pieces = torch.split(images, at_a_time)
    # Columns come first, as in Pillow: each pass rounds, so the order matters.
    return torch.cat([_resize_axis(_resize_axis(piece, 3, size), 2, size) for piece in pieces])


def _resize_axis(images: Tensor, axis: int, size: int) -> Tensor:
    """Return uint8 images with one axis resized."""
    if images.shape[axis] == size:
        return images
    sources, weights = _resize_taps(images.shape[axis], size, images.device)
    shape = [*images.shape]
    shape[axis] = size
    total = torch.full(shape, 1 << (_WEIGHT_BITS - 1), dtype=torch.int32, device=images.device)
    along = [1] * images.ndim
    along[axis] = size
    for source, weight in zip(sources, weights, strict=True):
        total.addcmul_(images.index_select(axis, source).int(), weight.view(along))
    return total.bitwise_right_shift_(_WEIGHT_BITS).to(torch.uint8)


@functools.cache
def _resize_taps(length: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the sources and weights that each of `size` pixels is summed from: taps × size.

    Weights are multiples of 2**-22 that add up to 1. The filter is a triangle, wider where the
    image shrinks.
    """
    scale = length / size
    support = max(scale, 1.0)
    centres = (np.arange(size) + 0.5) * scale
    first = np.maximum(centres - support + 0.5, 0).astype(np.int64)
    end = np.minimum(centres + support + 0.5, length).astype(np.int64)
    taps = first[:, None] + np.arange((end - first).max())
    distances = np.abs((taps - centres[:, None] + 0.5) * (1 / support))
    weights = np.where(taps < end[:, None], np.maximum(1 - distances, 0), 0)
    # A cumulative sum adds in Pillow's order, so the result is the same to the last bit.
    weights /= np.cumsum(weights, axis=1)[:, -1:]
    whole = (weights * (1 << _WEIGHT_BITS) + 0.5).astype(np.int32)
    sources = np.minimum(taps, length - 1)
    return torch.from_numpy(sources.T).to(device), torch.from_numpy(whole.T).to(device)


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """Prepares uint8 images for a network: resizes, scales to [0, 1], normalises.

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
        """Return uint8 images B×C×H×W as float32 B×C×S×S with S the `image_size`.

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
    if len(values) != images.shape[1]:
        raise RequestError(
            f"{name} has {len(values)} value(s); wanted {images.shape[1]}, one a channel of the "
            "images"
        )
    return _column_on(values, images.device)


@functools.cache
def _column_on(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device).view(-1, 1, 1)


def draw_shifts(count: int, pixels: int, generator: torch.Generator) -> Tensor:
    """Return how far images move down and right, -`pixels` to `pixels`: int64 `count`×2."""
    return torch.randint(-pixels, pixels + 1, (2, count), generator=generator).T


def shift_images(images: Tensor, pixels: int, shifts: Tensor) -> Tensor:
    """Return images, B×C×H×W, each moved as `draw_shifts` says, by `pixels` at the most.

    Pixels that come in from outside are 0, which is black in uint8 images, so shift after
    `resize_uint8` and before `Preprocess` (which does not resize images of its own size).
    """
    count, _, height, width = images.shape
    down, right = shifts.T[..., None]
    rows = torch.arange(pixels, pixels + height, device=images.device) - down
    columns = torch.arange(pixels, pixels + width, device=images.device) - right
    each = torch.arange(count, device=images.device)
    # With channels last, one index moves all the channels of a pixel.
    padded = pad(images, (pixels,) * 4).permute(0, 2, 3, 1)
    moved = padded[each[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)
