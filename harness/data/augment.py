"""Change training images at random, as a recipe asks; a generator decides every change."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from harness.data.preprocess import draw_shifts, shift_images
from harness.settings_spec import TrainingSettings

# Of torchvision's RandomResizedCrop.
_ASPECT_RATIOS, _TRIES = (3 / 4, 4 / 3), 10


@dataclass(frozen=True, kw_only=True)
class Changes:
    """The random numbers that decide how the B images of a batch are changed.

    Attributes:
        seed: Seed of RandAugment; 0 where it is not asked for.
        mixing_seed: Seed of `mix`; 0 where it is not asked for.
        rows: One row an image, of what is asked for: "shifts" of `draw_shifts`, "corners" of
            `draw_corners`, "crops" of `draw_crops`, and "flipped", which images are mirrored,
            bool B.
    """

    seed: int
    mixing_seed: int
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
    seed, mixing_seed, rows = 0, 0, {}
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
    if recipe.random_resized_crop is not None:
        rows["crops"] = draw_crops(count, image_size, recipe.random_resized_crop, generator)
    if mixes(recipe):
        mixing_seed = int(torch.randint(2**31, (), generator=generator))
    return Changes(seed=seed, mixing_seed=mixing_seed, rows=rows)


def move_changes(changes: Sequence[Changes], device: str) -> list[Changes]:
    """Return the changes of many batches on a device, in one copy of each kind."""
    moved: list[dict[str, Tensor]] = [{} for _ in changes]
    for name in changes[0].rows if changes else ():
        parts = [each.rows[name] for each in changes]
        whole = torch.cat(parts).to(device, non_blocking=True)
        for into, part in zip(moved, torch.split(whole, [*map(len, parts)]), strict=True):
            into[name] = part
    return [replace(each, rows=on) for each, on in zip(changes, moved, strict=True)]


def augment(images: Tensor, recipe: TrainingSettings, changes: Changes) -> Tensor:
    """Return images changed as the recipe says, each in its own way.

    What comes in at a border and what is cut out is black, so this goes before normalising. The
    images are uint8 B×C×S×S, on the device of the changes.
    """
    rows = changes.rows
    if "crops" in rows:
        images = enlarge_crops(images, rows["crops"])
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


def draw_crops(
    count: int, image_size: int, scale: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Return boxes in square images as torchvision's RandomResizedCrop draws them, int64 count×4.

    A row is top, left, height and width, in pixels; `scale` is the range of areas, as shares of the
    image's.
    """
    areas = torch.empty(count, _TRIES).uniform_(*scale, generator=generator) * image_size**2
    logs = torch.empty(count, _TRIES).uniform_(*map(math.log, _ASPECT_RATIOS), generator=generator)
    sides = torch.stack([areas / logs.exp(), areas * logs.exp()], 2).sqrt().round().long()
    fits = ((sides > 0) & (sides <= image_size)).all(2)
    chosen = sides[torch.arange(count), fits.int().argmax(1)]
    chosen[~fits.any(1)] = image_size
    room = image_size - chosen + 1
    corners = (torch.rand(count, 2, generator=generator) * room).long()
    return torch.cat([corners, chosen], 1)


def enlarge_crops(images: Tensor, crops: Tensor) -> Tensor:
    """Return boxes of uint8 images B×C×S×S, one of each, enlarged bilinearly to S×S.

    Szegedy et al., "Going deeper with convolutions", 2014, arXiv:1409.4842. Pixels outside a box
    are not looked at. All boxes are enlarged at once, on the device.
    """
    size = images.shape[-1]
    starts, sides = torch.split(crops[..., None].float(), 2, dim=1)
    places = (torch.arange(size, device=images.device) + 0.5) / size
    pixels = (starts + sides * places - 0.5).clamp(starts, starts + sides - 1)
    # From pixels to what grid_sample wants: -1 and 1 are the borders of the image.
    rows, columns = ((2 * pixels + 1) / size - 1).unbind(1)
    across, down = columns[:, None], rows[:, :, None]
    grid = torch.stack([across.expand(-1, size, -1), down.expand(-1, -1, size)], 3)
    return grid_sample(images.float(), grid, align_corners=False).round_().to(torch.uint8)


def mixes(recipe: TrainingSettings) -> bool:
    """Whether a recipe mixes the images of a batch, so that `mix` is called."""
    return recipe.mixup_alpha is not None or recipe.cutmix_alpha is not None


def mix(
    images: Tensor, labels: Tensor, classes: int, recipe: TrainingSettings, seed: int
) -> tuple[Tensor, Tensor]:
    """Return network input B×C×S×S, each mixed with the one before it in the batch, and targets.

    The labels are int64 B; the targets are the shares of the `classes` in an image, float32
    B×classes. The whole batch is mixed in the same way, which the seed decides.
    """
    targets = (labels[:, None] == torch.arange(classes, device=labels.device)).float()
    mixing = _mixing(recipe.mixup_alpha, recipe.cutmix_alpha)
    with _seeded(seed):
        images, targets = mixing(images, targets)
    return images, targets


@functools.cache
def _mixing(mixup_alpha: float | None, cutmix_alpha: float | None) -> nn.Module:
    from torchvision.transforms.v2 import CutMix, MixUp, RandomChoice

    ways = ((MixUp, mixup_alpha), (CutMix, cutmix_alpha))
    chosen = [way(alpha=alpha) for way, alpha in ways if alpha is not None]
    mixing: nn.Module = RandomChoice(chosen)
    return mixing


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the CPU's global generator, which torchvision draws from, while the block runs."""
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also seed the GPU's, which fork_rng does not restore here.
        torch.default_generator.manual_seed(seed)
        yield


def _rand_augment(images: Tensor, operations: int, magnitude: int, seed: int) -> Tensor:
    """Apply torchvision's RandAugment (Cubuk et al., 2019, arXiv:1909.13719) image by image."""
    from torchvision.transforms.v2 import RandAugment

    change = RandAugment(operations, magnitude)
    with _seeded(seed):
        return torch.stack([change(image) for image in images])
