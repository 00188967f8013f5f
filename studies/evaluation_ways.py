"""The ways to classify a lot of test images that `evaluation_speed.py` compares."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import Compose, Resize, ToTensor

from harness.data.preprocess import Preprocess
from harness.run.accuracy import compile_for_batches
from harness.settings_spec import Precision

Way = Callable[[Tensor], Tensor]
"""Takes uint8 images N×C×H×W, returns classes N."""


class _PillowImages(Dataset[Tensor]):
    """Images as the published programs read them: one by one, through Pillow."""

    def __init__(self, images: Tensor, size: int) -> None:
        self._images = images.permute(0, 2, 3, 1).squeeze(3).numpy()
        self._transform = Compose([Resize((size, size)), ToTensor()])

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Tensor:
        image: Tensor = self._transform(Image.fromarray(self._images[index]))
        return image


def published_way(network: nn.Module, image_size: int) -> Way:
    """Return the published way: Pillow, a DataLoader with batches of one, the network as it is."""

    @torch.no_grad()
    def run(images: Tensor) -> Tensor:
        loader = DataLoader(_PillowImages(images, image_size), batch_size=1)
        return torch.cat([network(batch).argmax(1) for batch in loader])

    return run


def eager_way(network: nn.Module, image_size: int, batch_size: int) -> Way:
    """Return the way of the accuracy pass with few images: in batches, channels last."""
    eager = copy.deepcopy(network).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def run(images: Tensor) -> Tensor:
        batches = _batches(images, image_size, batch_size)
        return torch.cat([eager(batch).argmax(1) for batch in batches])

    return run


def compiled_way(network: nn.Module, image_size: int, example: Tensor, precision: Precision) -> Way:
    """Return the way of the accuracy pass with many images.

    Args:
        network: In evaluation mode.
        image_size: What images are resized to.
        example: A batch of images, uint8, of the size that all batches will have.
        precision: Of the network.

    Raises:
        CellError: The network cannot be compiled.
    """
    eager = copy.deepcopy(network).to(memory_format=torch.channels_last)
    batch = next(_batches(example, image_size, len(example)))
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        compiled = compile_for_batches(eager, batch, precision)

    @torch.inference_mode()
    def run(images: Tensor) -> Tensor:
        batches = _batches(images, image_size, len(example))
        return torch.cat([compiled(batch).argmax(1) for batch in batches])

    return run


def _batches(images: Tensor, image_size: int, batch_size: int) -> Iterator[Tensor]:
    preprocess = Preprocess(image_size=image_size, mean=None, std=None)
    for batch in torch.split(images, batch_size):
        yield preprocess(batch).contiguous(memory_format=torch.channels_last)
