"""Measure how fast test images are classified, the published way beside ours, in the same rounds.

    python studies/evaluation_speed.py --dataset cifar10 \
        --data-file ../shared/data/cifar10_sample.npz

The published way decodes and resizes each image with Pillow, hands it over by a DataLoader in
batches of one, and runs the network as PyTorch has it. Ours keeps uint8 images in memory, resizes
them in batches and runs a compiled copy. Weights are random: they make no difference to the time.
"""

from __future__ import annotations

import copy
import statistics
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import torch
import typer
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, default_collate
from torchvision.transforms import Compose, Resize, ToTensor
from typer import Option

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.catalog import load_model
from harness.data.preprocess import Preprocess
from harness.errors import exit_on_error
from harness.measure.operations import count_macs
from harness.measure.peak import measure_peak
from harness.report.table import Table
from harness.run.accuracy import compile_for_batches
from harness.settings_spec import Precision
from studies.common import DataFile, Dataset, Threads, in_turn, load_study, spread

Way = Callable[[Tensor], Tensor]
"""Takes uint8 images N×C×H×W, returns classes N."""

_ROUNDS = 5
_SEED = 0
_PUBLISHED = "published way"
_HEADER = ("Network", "Way", "Images/s", "× published", "GFLOP/s", "Share of peak", "Same classes")

ImagesLarge = Annotated[int, Option(help="Images a round for ResNet-50.", min=16)]
ImagesSmall = Annotated[int, Option(help="Images a round for the small CNN.", min=256)]


def main(
    dataset: Dataset = "digits",
    data_file: DataFile = None,
    threads: Threads = 2,
    images_large: ImagesLarge = 64,
    images_small: ImagesSmall = 512,
) -> None:
    """Classify images in all ways, round by round, and print a table."""
    torch.set_num_threads(threads)
    torch.manual_seed(_SEED)
    with exit_on_error():
        test = load_study(dataset, "resnet", data_file, ["image_size=32"])[2].test
        images, _ = next(test.batches(None, len(test)))
        large = load_model("resnet").build(10, images.shape[1], False).eval()
        small = _small_cnn(images.shape[1]).eval()
        rows = [
            *_measure("ResNet-50, 224×224", large, 224, 16, _repeat(images, images_large)),
            *_measure("3 convolutions, 32×32", small, 32, 256, _repeat(images, images_small)),
        ]
    print(Table.of_texts(_HEADER, rows, align="llr").markdown())
    print(f"{_ROUNDS} rounds, {threads} CPU thread(s); × is the median of the ratio in a round.")


def published_way(network: nn.Module, image_size: int) -> Way:
    """Return the published way: Pillow, a DataLoader with batches of one, the network as it is."""
    transform = Compose([Image.fromarray, Resize((image_size, image_size)), ToTensor()])

    @torch.no_grad()
    def run(images: Tensor) -> Tensor:
        arrays = cast("Any", images.permute(0, 2, 3, 1).squeeze(3).numpy())
        loader = DataLoader(arrays, collate_fn=lambda one: default_collate([transform(one[0])]))
        return torch.cat([network(batch).argmax(1) for batch in loader])

    return run


def eager_way(network: nn.Module, image_size: int, batch_size: int) -> Way:
    """Return the way of the accuracy pass with few images: in batches, channels last."""
    return _in_batches(_channels_last(network), image_size, batch_size)


def compiled_way(network: nn.Module, image_size: int, example: Tensor, precision: Precision) -> Way:
    """Return the way of the accuracy pass with many images, for batches as large as `example`.

    Raises:
        CellError: The network cannot be compiled.
    """
    batch = next(_batches(example, image_size, len(example)))
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        compiled = compile_for_batches(_channels_last(network), batch, precision)
    return _in_batches(compiled, image_size, len(example))


def _channels_last(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).to(memory_format=torch.channels_last)


def _in_batches(network: Way, image_size: int, batch_size: int) -> Way:
    @torch.inference_mode()
    def run(images: Tensor) -> Tensor:
        batches = _batches(images, image_size, batch_size)
        return torch.cat([network(batch).argmax(1) for batch in batches])

    return run


def _batches(images: Tensor, image_size: int, batch_size: int) -> Iterator[Tensor]:
    preprocess = Preprocess(image_size=image_size, mean=None, std=None)
    for batch in torch.split(images, batch_size):
        yield preprocess(batch).contiguous(memory_format=torch.channels_last)


def _repeat(images: Tensor, count: int) -> Tensor:
    """Return so many images, the first ones again where there are fewer."""
    return images[torch.arange(count) % len(images)].contiguous()


def _small_cnn(channels: int) -> nn.Module:
    blocks = [
        nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2))
        for a, b in pairwise((channels, 16, 32, 64))
    ]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def _measure(
    title: str, network: nn.Module, size: int, batch_size: int, images: Tensor
) -> Iterator[list[str]]:
    """Yield a row for each way to classify images."""
    batch = images[:batch_size]
    ways: dict[str, Way] = {
        _PUBLISHED: published_way(network, size),
        "batches, channels last": eager_way(network, size, batch_size),
        "compiled, fp32": compiled_way(network, size, batch, "fp32"),
        "compiled, bf16": compiled_way(network, size, batch, "bf16"),
    }
    classes = {name: way(images) for name, way in ways.items()}
    calls = {name: partial(way, images) for name, way in ways.items()}
    order = np.random.default_rng(_SEED)
    rounds = [
        {name: len(images) / s for name, _, s in in_turn(calls, order)} for _ in range(_ROUNDS)
    ]
    gflops = 2 * count_macs(network, torch.empty(1, images.shape[1], size, size)) / 1e9
    for name in ways:
        rate = statistics.median(each[name] for each in rounds)
        peak = measure_peak("cpu", "bf16" if "bf16" in name else "fp32").gflops_per_s
        same = (classes[name] == classes[_PUBLISHED]).double().mean()
        yield [
            title,
            name,
            f"{rate:.1f}",
            spread([each[name] / each[_PUBLISHED] for each in rounds]),
            f"{rate * gflops:.0f}",
            f"{rate * gflops / peak:.0%} of {peak:.0f}",
            f"{same:.1%}",
        ]


if __name__ == "__main__":
    typer.run(main)
