"""Training batches: what each step sees depends on the seed, the epoch and the step alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from harness.data.augment import Changes, augment, draw_changes, mix, mixes, move_changes
from harness.data.preprocess import Preprocess, resize_uint8
from harness.data.shares import Share
from harness.data.splits import MemorySplit, Split
from harness.errors import RequestError
from harness.jobs import Device
from harness.settings_spec import TrainingSettings
from harness.util.hashing import hash_json

# Images take this share of a GPU's memory at most; the rest is for training.
_SHARE_OF_GPU = 0.25


class ImageBatches:
    """Training images as `training.loop.Batches`: shuffled, augmented, ready for the network.

    The order of an epoch depends on the seed and the epoch's number alone, and the changes to the
    images of a batch on the step as well, so that a continued run sees what an uninterrupted one
    does.

    Attributes:
        labels: Target class of each image of the split, int64; -1 leaves the image out.
        share: The part of every batch that is yielded here, changed as in the whole batch.
    """

    def __init__(
        self,
        split: Split,
        preprocess: Preprocess,
        recipe: TrainingSettings,
        seed: int,
        device: Device,
        labels: Tensor | None = None,
        share: Share | None = None,
    ) -> None:
        self.split, self.preprocess, self.device = split, preprocess, device
        self.recipe, self.seed, self.share = recipe, seed, share or Share()
        self.labels = split.labels if labels is None else labels
        self._used = (self.labels >= 0).nonzero()[:, 0]
        self.steps, self.images = count_steps(len(self._used), recipe)

    def epoch(self, number: int, first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield float images B×C×S×S and labels B from a step of an epoch on, on the device.

        Where the recipe mixes images, shares of the classes, B×K, stand in place of the labels; K
        is the largest label plus 1.
        """
        if first_step >= self.steps:
            return
        recipe, size = self.recipe, self.recipe.batch_size
        order = shuffled(self.labels[self._used], recipe, seeded_generator(self.seed, number, 0))
        rest = self._used[order][first_step * size : self.images]
        labels = torch.split(self.labels[rest].to(self.device, non_blocking=True), size)
        turns = torch.split(self._mirrored_first[rest] ^ (number % 2 == 0), size)
        shares = [self.share.rows(len(each)) for each in labels]
        # RandAugment draws image by image, and any two images may be mixed: a share of a batch can
        # only be cut from the whole.
        whole = mixes(recipe) or recipe.rand_augment is not None
        read = [slice(0, len(each)) for each in labels] if whole else shares
        classes = int(self.labels.max()) + 1
        changes: Iterable[Changes] = self._changes(number, first_step, turns, read)
        if self.device != "cpu":
            # All at once: a copy in every step would make the host wait for the device.
            changes = move_changes([*changes], self.device)
        rows = [each[part] for each, part in zip(torch.split(rest, size), read, strict=True)]
        for stored, wanted, change, share in zip(
            self._stored(rows), labels, changes, shares, strict=True
        ):
            images = augment(resize_uint8(stored, self.preprocess.image_size), recipe, change)
            images, targets = self.preprocess(images), wanted
            if mixes(recipe):
                images, targets = mix(images, wanted, classes, recipe, change.mixing_seed)
            yield images[share] if whole else images, targets[share]

    def _changes(
        self, epoch: int, first_step: int, turns: Sequence[Tensor], read: Sequence[slice]
    ) -> Iterator[Changes]:
        """Yield the changes to those images of each batch that are read."""
        for step, (turn, rows) in enumerate(zip(turns, read, strict=True), start=first_step + 1):
            generator = seeded_generator(self.seed, epoch, step)
            size = self.preprocess.image_size
            drawn = draw_changes(len(turn), size, self.recipe, generator, turn)
            yield replace(drawn, rows={name: part[rows] for name, part in drawn.rows.items()})

    @cached_property
    def _mirrored_first(self) -> Tensor:
        """Which images of the split are mirrored in the odd epochs, where they take turns."""
        return torch.rand(len(self.split), generator=seeded_generator(self.seed, 0, 0)) < 0.5

    @cached_property
    def _source(self) -> Split:
        """The split, on the GPU in whole where it is in memory and fits well."""
        if self.device != "cuda" or not isinstance(self.split, MemorySplit):
            return self.split
        images, labels, rows = self.split.images, self.split.labels, self.split.rows
        if images.nbytes > _SHARE_OF_GPU * torch.cuda.get_device_properties("cuda").total_memory:
            return self.split
        rows = None if rows is None else rows.to("cuda")
        return MemorySplit(images.to("cuda"), labels.to("cuda"), rows)

    def _stored(self, rows: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the images at the rows of each batch, as stored, on the device."""
        # The last batch is larger than the others where each process takes the whole of it.
        cut = len(rows) - (len(rows[-1]) > len(rows[0]))
        for alike in filter(None, (rows[:cut], rows[cut:])):
            order = torch.cat([*alike]).to(self._source.labels.device, non_blocking=True)
            for stored, _ in self._source.batches(order, len(alike[0])):
                yield stored.to(self.device, non_blocking=True)


def count_steps(images: int, recipe: TrainingSettings) -> tuple[int, int]:
    """Return the number of steps of an epoch over `images` images, and of images that it sees."""
    whole, rest = divmod(images, recipe.batch_size)
    if recipe.drop_last or not rest:
        return whole, whole * recipe.batch_size
    return whole + 1, images


def batch_sizes(images: int, recipe: TrainingSettings) -> list[int]:
    """Return the different sizes of the parts that gradients are computed of, the usual one first.

    The list is empty where there is no whole batch.
    """
    steps, used = count_steps(images, recipe)
    batches = [min(recipe.batch_size, used), used - (steps - 1) * recipe.batch_size]
    most = recipe.micro_batch_size or recipe.batch_size
    parts = [part for size in batches for part in (min(size, most), size % most)]
    return [size for size in dict.fromkeys(parts) if size > 0] if steps else []


def too_few_images(images: int, recipe: TrainingSettings, name: str = "training") -> RequestError:
    """Return the error that says that the recipe of this name has no whole batch."""
    return RequestError(
        f"{name}.batch_size is {recipe.batch_size} but there are only {images} training images, "
        f"and {name}.drop_last leaves out partial batches"
    )


def shuffled(labels: Tensor, recipe: TrainingSettings, generator: torch.Generator) -> Tensor:
    """Return indices of `labels` in random order, int64 N.

    Each comes once; with `balance_classes` each class comes equally often, and the images of a
    rare one several times.
    """
    if not recipe.balance_classes:
        return torch.randperm(len(labels), generator=generator)
    present = labels.bincount().nonzero()[:, 0].tolist()
    wanted = len(labels) // len(present) + 1
    drawn = []
    for label in present:
        members = (labels == label).nonzero()[:, 0]
        rounds = -(-wanted // len(members))
        orders = [torch.randperm(len(members), generator=generator) for _ in range(rounds)]
        drawn.append(members[torch.cat(orders)][:wanted])
    # Taking one of each class in turn, cut to N, keeps the counts of classes within one.
    order = torch.stack(drawn, dim=1).flatten()[: len(labels)]
    return order[torch.randperm(len(order), generator=generator)]


def seeded_generator(seed: int, epoch: int, step: int) -> torch.Generator:
    """Return a generator whose state follows from the three numbers alone."""
    return torch.Generator().manual_seed(int(hash_json([seed, epoch, step])[:15], 16))
