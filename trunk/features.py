"""The training inputs of a node: images at the root, else its parent's feature maps."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor, nn

from harness.data.batches import ImageBatches, count_steps, seeded_generator, shuffled
from harness.errors import RequestError
from harness.settings_spec import TrainingSettings
from harness.training.loop import Batches
from harness.training.stages import Fitting
from trunk.nodes import NodeModule

logger = logging.getLogger(__name__)

_BATCH = 250


class NodeInputs:
    """The input of one node's network, for any training images."""

    def __init__(
        self,
        fitting: Fitting,
        ancestors: Sequence[NodeModule],
        rows: Tensor,
        recipe: TrainingSettings,
        views: int,
    ) -> None:
        """Take what the input of a node depends on.

        The ancestors are the trained networks above it, root first; `rows` are the training images
        that it learns from, int64; the recipe says how images are augmented and how precise kept
        maps are, `views` how often images are augmented anew.
        """
        self.fitting, self.rows, self.recipe = fitting, rows, recipe
        self._ancestors = [network.to(fitting.device).eval() for network in ancestors]
        augments = (recipe.random_resized_crop, recipe.rand_augment, recipe.cutout)
        moves = recipe.shift_pixels or recipe.horizontal_flip or recipe.alternate_flip
        self._views = views if moves or any(augments) else 1

    def batches(self, recipe: TrainingSettings, targets: Tensor) -> Batches:
        """Return the inputs of `rows`, and their targets, int64, in the batches of a recipe."""
        images = self._image_batches(recipe, targets)
        if not self._ancestors:
            return images
        if self._fits_in_memory:
            return _KeptBatches(self, targets, recipe)
        return _ComputedBatches(self, images)

    def plain(self, rows: Tensor) -> Iterator[Tensor]:
        """Yield the node's input for some images, not augmented, in batches."""
        for stored, _ in self.fitting.split.batches(rows, _BATCH):
            yield self.through_ancestors(self.fitting.preprocess(stored.to(self.fitting.device)))

    def through_ancestors(self, inputs: Tensor) -> Tensor:
        """Return the node's input for network input N×C×H×W of the root."""
        bf16 = self.recipe.precision == "bf16"
        device = self.fitting.device
        with torch.no_grad(), torch.autocast(device, dtype=torch.bfloat16, enabled=bf16):
            for network in self._ancestors:
                inputs = network.features(inputs)
        return inputs

    @cached_property
    def kept(self) -> list[Tensor]:
        """The maps of all `rows`, once for each view: N×C×H×W in the recipe's precision, CPU."""
        size = len(self.rows)
        logger.info("keeping %d maps of %d images", self._views * size, size)
        return [self._keep(view) for view in range(self._views)]

    def _keep(self, view: int) -> Tensor:
        once = replace(self.recipe, batch_size=_BATCH, drop_last=False, balance_classes=False)
        # The "targets" number the rows, because the batches come in random order.
        images = self._image_batches(once, torch.arange(len(self.rows)))
        maps: Tensor | None = None
        for inputs, places in images.epoch(view, 0):
            found = self.through_ancestors(inputs)
            if maps is None:
                dtype = torch.bfloat16 if self.recipe.precision == "bf16" else torch.float32
                maps = torch.empty((len(self.rows), *found.shape[1:]), dtype=dtype)
            maps[places.cpu()] = found.to("cpu", maps.dtype)
        if maps is None:
            raise RequestError("a node of the tree has no training image")
        return maps

    def _image_batches(self, recipe: TrainingSettings, targets: Tensor) -> ImageBatches:
        labels = torch.full((len(self.fitting.split),), -1)
        labels[self.rows] = targets
        return self.fitting.image_batches(recipe, labels)

    @property
    def _fits_in_memory(self) -> bool:
        example = next(self.plain(self.rows[:1]))
        size = math.prod(example.shape) * (2 if self.recipe.precision == "bf16" else 4)
        limit = self.fitting.settings.memory_limit_gb * 1e9
        return self._views * len(self.rows) * size <= limit


class _KeptBatches:
    """Kept maps; each epoch takes the next view in turn."""

    def __init__(self, inputs: NodeInputs, targets: Tensor, recipe: TrainingSettings) -> None:
        self.inputs, self.targets, self.recipe = inputs, targets, recipe
        self.steps, self.images = count_steps(len(targets), recipe)

    def epoch(self, number: int, first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield maps and their targets, from a step of an epoch on."""
        fitting, views = self.inputs.fitting, self.inputs.kept
        maps = views[(number - 1) % len(views)]
        generator = seeded_generator(fitting.settings.seed, number, 0)
        order = shuffled(self.targets, self.recipe, generator)
        for chosen in torch.split(order, self.recipe.batch_size)[first_step : self.steps]:
            batch = maps[chosen].to(fitting.device)
            yield batch.float(), self.targets[chosen].to(fitting.device)


class _ComputedBatches:
    """Maps that are computed anew each epoch, because memory cannot hold them."""

    def __init__(self, inputs: NodeInputs, images: Batches) -> None:
        self.inputs, self.batches = inputs, images
        self.steps, self.images = images.steps, images.images

    def epoch(self, number: int, first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield maps and their targets, from a step of an epoch on."""
        for images, targets in self.batches.epoch(number, first_step):
            yield self.inputs.through_ancestors(images).float(), targets


def softmax_of(network: nn.Module, inputs: NodeInputs, rows: Tensor) -> Tensor:
    """Return a node's probabilities N×children, on the CPU, for N rows of the training images."""
    network.to(inputs.fitting.device).eval()
    with torch.no_grad():
        parts = [network(maps.float()).softmax(1).cpu() for maps in inputs.plain(rows)]
    network.cpu()
    return torch.cat(parts)
