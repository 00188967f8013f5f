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
    """The random numbers that decide how the B images of a batch are changed.

    Attributes:
        seed: Seed of RandAugment; 0 where it is not asked for.
        rows: One row an image, of what is asked for: "shifts" of `draw_shifts`, "corners" of
            `draw_corners`, and "flipped", which images are mirrored, bool B.
    """

    seed: int
    rows: dict[str, Tensor]


def draw_changes(
    count: int,
    image_size: int,
    recipe: TrainingSettings,
    generator: torch.Generator,
    in_turn: Tensor | None = None,
) -> Changes:
    """Draw what a recipe does to `count` images.

    The generator is on the CPU, so that a seed means the same changes on every device. `in_turn`
    says whose turn it is to be mirrored under `alternate_flip`, bool `count`.
    """
    seed, rows = 0, {}
    if recipe.rand_augment is not None:
        seed = int(torch.randint(2**31, (), generator=generator))
    if recipe.shift_pixels:
        rows["shifts"] = draw_shifts(count, recipe.shift_pixels, generator)
    if recipe.alternate_flip and in_turn is not None:
        rows["flipped"] = in_turn
    elif recipe.horizontal_flip:
        rows["flipped"] = torch.rand(count, generator=generator) < 0.5
    if recipe.cutout is not None:
        rows["corners"] = draw_corners(count, image_size, *recipe.cutout, generator)
    return Changes(seed=seed, rows=rows)


def move_changes(changes: Sequence[Changes], device: str) -> list[Changes]:
    """Return the changes of many batches on a device, in one copy of each kind."""
    moved: list[dict[str, Tensor]] = [{} for _ in changes]
    for name in changes[0].rows if changes else ():
        parts = [each.rows[name] for each in changes]
        whole = torch.cat(parts).to(device, non_blocking=True)
        for into, part in zip(moved, torch.split(whole, [*map(len, parts)]), strict=True):
            into[name] = part
    return [Changes(seed=each.seed, rows=on) for each, on in zip(changes, moved, strict=True)]


def augment(images: Tensor, recipe: TrainingSettings, changes: Changes) -> Tensor:
    """Return images changed as the recipe says, each in its own way.

    What comes in at a border and what is cut out is black, so this goes before normalising. The
    images are uint8 B×C×H×W, on the device of the changes.
    """
    rows = changes.rows
    if recipe.rand_augment is not None:
        images = _rand_augment(images, *recipe.rand_augment, changes.seed)
    if "shifts" in rows:
        images = shift_images(images, recipe.shift_pixels, rows["shifts"])
    if "flipped" in rows:
        images = torch.where(rows["flipped"][:, None, None, None], images.flip(3), images)
    if recipe.cutout is not None:
        images = cut_out(images, recipe.cutout[1], rows["corners"])
    return images


def draw_corners(
    count: int, image_size: int, holes: int, side: int, generator: torch.Generator
) -> Tensor:
    """Return upper and left ends of squares, int64 count×holes×2; any pixel is a centre."""
    drawn = torch.randint(image_size, (2 * holes, count), generator=generator)
    return drawn.T.view(count, holes, 2) - side // 2


def cut_out(images: Tensor, side: int, corners: Tensor) -> Tensor:
    """Return images, B×C×H×W, with black squares at `corners`, which are cut off at a border.

    DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout",
    2017, arXiv:1708.04552.
    """
    kept = torch.ones(len(images), 1, *images.shape[2:], dtype=torch.bool, device=images.device)
    rows, columns = (torch.arange(length, device=images.device) for length in images.shape[2:])
    for top, left in corners.permute(1, 2, 0)[..., None]:
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
