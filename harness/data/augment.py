"""Change training images at random, as a recipe asks; a generator decides every change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.data.preprocess import draw_shifts, shift_images
from harness.settings_spec import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class Changes:
    """The random numbers that decide how the B images of a batch are changed; None: not so.

    Attributes:
        seed: Seed of RandAugment.
        shifts: From `draw_shifts`, 2×B×1.
        flipped: Which images are mirrored, bool B.
        corners: Upper and left ends of the squares that are cut out, int64 holes×2×B×1.
    """

    seed: int | None = None
    shifts: Tensor | None = None
    flipped: Tensor | None = None
    corners: Tensor | None = None


# The dimension of each part of `Changes` that is the batch's.
_BATCH_DIMENSION = {"shifts": 1, "flipped": 0, "corners": 2}


def draw_changes(
    count: int,
    image_size: int,
    recipe: TrainingSettings,
    generator: torch.Generator,
    in_turn: Tensor | None = None,
) -> Changes:
    """Draw what a recipe does to `count` images.

    Args:
        count: Number of images.
        image_size: Side of the images, in pixels.
        recipe: `rand_augment`, `shift_pixels`, `horizontal_flip`, `alternate_flip` and
            `cutout` are used.
        generator: On the CPU, so that a seed means the same changes on every device.
        in_turn: Whose turn it is to be mirrored under `alternate_flip`, bool `count`.
    """
    seed = shifts = flipped = corners = None
    if recipe.rand_augment is not None:
        seed = int(torch.randint(2**31, (), generator=generator))
    if recipe.shift_pixels:
        shifts = draw_shifts(count, recipe.shift_pixels, generator)
    if recipe.alternate_flip:
        flipped = in_turn
    elif recipe.horizontal_flip:
        flipped = torch.rand(count, generator=generator) < 0.5
    if recipe.cutout is not None:
        holes, side = recipe.cutout
        corners = draw_corners(count, image_size, holes, side, generator)
    return Changes(seed=seed, shifts=shifts, flipped=flipped, corners=corners)


def take_changes(changes: Changes, rows: slice) -> Changes:
    """Return the changes to the images of a batch at some rows; RandAugment's seed stays."""
    taken = {
        name: part.narrow(dimension, rows.start, rows.stop - rows.start)
        for name, dimension in _BATCH_DIMENSION.items()
        if (part := getattr(changes, name)) is not None
    }
    return Changes(seed=changes.seed, **taken)


def move_changes(changes: Sequence[Changes], device: str) -> list[Changes]:
    """Return the changes of many batches on a device, in one copy of each kind."""
    parts = {name: [getattr(each, name) for each in changes] for name in _BATCH_DIMENSION}
    moved: list[dict[str, Tensor]] = [{} for _ in changes]
    for name, dimension in _BATCH_DIMENSION.items():
        if changes and parts[name][0] is not None:
            whole = torch.cat(parts[name], dimension).to(device, non_blocking=True)
            sizes = [part.shape[dimension] for part in parts[name]]
            for into, part in zip(moved, torch.split(whole, sizes, dimension), strict=True):
                into[name] = part
    return [Changes(seed=each.seed, **on) for each, on in zip(changes, moved, strict=True)]


def augment(images: Tensor, recipe: TrainingSettings, changes: Changes) -> Tensor:
    """Return images changed as the recipe says, each in its own way.

    What comes in at a border and what is cut out is black, so this goes before normalising.

    Args:
        images: uint8 B×C×H×W, on any device.
        recipe: The one that the changes were drawn for.
        changes: On the images' device.
    """
    if recipe.rand_augment is not None and changes.seed is not None:
        images = _rand_augment(images, *recipe.rand_augment, changes.seed)
    if changes.shifts is not None:
        images = shift_images(images, recipe.shift_pixels, changes.shifts)
    if changes.flipped is not None:
        images = torch.where(changes.flipped[:, None, None, None], images.flip(3), images)
    if recipe.cutout is not None and changes.corners is not None:
        images = cut_out(images, recipe.cutout[1], changes.corners)
    return images


def draw_corners(
    count: int, image_size: int, holes: int, side: int, generator: torch.Generator
) -> Tensor:
    """Return upper and left ends of squares, int64 holes×2×count×1; any pixel is a centre."""
    drawn = [torch.randint(image_size, (count, 1), generator=generator) for _ in range(2 * holes)]
    return torch.stack(drawn).view(holes, 2, count, 1) - side // 2


def cut_out(images: Tensor, side: int, corners: Tensor) -> Tensor:
    """Return images with black squares, which are cut off at a border.

    DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout",
    2017, arXiv:1708.04552.

    Args:
        images: B×C×H×W.
        side: Side of a square, in pixels.
        corners: From `draw_corners`, on the images' device.
    """
    kept = torch.ones(len(images), 1, *images.shape[2:], dtype=torch.bool, device=images.device)
    rows, columns = (torch.arange(length, device=images.device) for length in images.shape[2:])
    for top, left in corners:
        in_rows = (rows >= top) & (rows < top + side)
        in_columns = (columns >= left) & (columns < left + side)
        kept &= ~(in_rows[:, None, :, None] & in_columns[:, None, None, :])
    return images * kept


def _rand_augment(images: Tensor, operations: int, magnitude: int, seed: int) -> Tensor:
    """Apply torchvision's RandAugment (Cubuk et al., 2019, arXiv:1909.13719) image by image."""
    from torchvision.transforms.v2 import RandAugment

    change = RandAugment(operations, magnitude)
    # RandAugment draws from the global generator, whose state is restored afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torch.stack([change(image) for image in images])
