"""Change training images at random, as a recipe asks; a generator decides every change."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.data.preprocess import shift_images
from harness.settings_spec import TrainingSettings


def augment(images: Tensor, recipe: TrainingSettings, generator: torch.Generator) -> Tensor:
    """Return images changed as the recipe says, each in its own way.

    What comes in at a border and what is cut out is black, so this goes before normalising.

    Args:
        images: uint8 B×C×H×W, on any device.
        recipe: `rand_augment`, `shift_pixels`, `horizontal_flip` and `cutout` are used.
        generator: On the CPU; the same state gives the same changes on every device.
    """
    if recipe.rand_augment is not None:
        images = _rand_augment(images, *recipe.rand_augment, generator)
    if recipe.shift_pixels:
        images = shift_images(images, recipe.shift_pixels, generator)
    if recipe.horizontal_flip:
        flipped = torch.rand(len(images), generator=generator) < 0.5
        flipped = flipped.to(images.device)[:, None, None, None]
        images = torch.where(flipped, images.flip(3), images)
    if recipe.cutout is not None:
        images = cut_out(images, *recipe.cutout, generator)
    return images


def cut_out(images: Tensor, holes: int, side: int, generator: torch.Generator) -> Tensor:
    """Return images with black squares, whose centres are anywhere: at a border they are cut off.

    DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout",
    2017, arXiv:1708.04552.

    Args:
        images: B×C×H×W.
        holes: Squares an image.
        side: Side of a square, in pixels.
        generator: On the CPU.
    """
    kept = torch.ones(len(images), 1, *images.shape[2:], dtype=torch.bool)
    rows, columns = (torch.arange(length) for length in images.shape[2:])
    for _ in range(holes):
        top = _corners(len(images), images.shape[2], side, generator)
        left = _corners(len(images), images.shape[3], side, generator)
        in_rows = (rows >= top) & (rows < top + side)
        in_columns = (columns >= left) & (columns < left + side)
        kept &= ~(in_rows[:, None, :, None] & in_columns[:, None, None, :])
    return images * kept.to(images.device)


def _corners(count: int, length: int, side: int, generator: torch.Generator) -> Tensor:
    """Return where squares begin, count×1, their centres drawn from all pixels."""
    return torch.randint(length, (count, 1), generator=generator) - side // 2


def _rand_augment(
    images: Tensor, operations: int, magnitude: int, generator: torch.Generator
) -> Tensor:
    """Apply torchvision's RandAugment (Cubuk et al., 2019, arXiv:1909.13719) image by image."""
    from torchvision.transforms.v2 import RandAugment

    change = RandAugment(operations, magnitude)
    # RandAugment draws from the global generator, whose state is restored afterwards.
    seed = int(torch.randint(2**31, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torch.stack([change(image) for image in images])
