"""How fast test images are classified: the published way beside ours, in the same rounds.

    python studies/evaluation_speed.py --dataset cifar10 \
        --data-file ../shared/data/cifar10_sample.npz

The published way decodes and resizes each image with Pillow, hands it over by a DataLoader in
batches of one, and runs the network as PyTorch has it. Ours keeps uint8 images in memory, resizes
them in batches and runs a compiled copy. Weights are random: they make no difference to the time.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor, nn
from typer import Option

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from harness.catalog import load_model
from harness.data.loading import load_data
from harness.errors import CellError, RequestError
from harness.measure.operations import measure_operations
from harness.measure.peak import measure_peak
from harness.registry import find_dataset
from harness.report.table import Table
from studies.evaluation_ways import Way, compiled_way, eager_way, published_way

_ROUNDS = 5
_SEED = 0
_PUBLISHED = "published way"
_HEADER = ("Network", "Way", "Images/s", "× published", "GFLOP/s", "Share of peak", "Same classes")

DatasetName = Annotated[str, Option(help="A data set's name.")]
DataFile = Annotated[Path | None, Option(help="Images to use instead of the official ones.")]
Threads = Annotated[int, Option(help="CPU threads.", min=1)]
ImagesLarge = Annotated[int, Option(help="Images a round for ResNet-50.", min=16)]
ImagesSmall = Annotated[int, Option(help="Images a round for the small CNN.", min=256)]


@dataclass(frozen=True, kw_only=True)
class _Case:
    """A network, the size of its images, and how many of them a batch and a round have."""

    name: str
    network: nn.Module
    image_size: int
    batch_size: int
    images: int


def main(
    dataset: DatasetName = "digits",
    data_file: DataFile = None,
    threads: Threads = 2,
    images_large: ImagesLarge = 64,
    images_small: ImagesSmall = 512,
) -> None:
    """Classify images in all ways, round by round, and print a table."""
    torch.set_num_threads(threads)
    torch.manual_seed(_SEED)
    try:
        images = _load_images(dataset, data_file)
        channels = images.shape[1]
        large = load_model("resnet").build(10, channels, False)
        cases = (
            _Case(
                name="ResNet-50, 224×224",
                network=large.eval(),
                image_size=224,
                batch_size=16,
                images=images_large,
            ),
            _Case(
                name="3 convolutions, 32×32",
                network=_small_cnn(channels).eval(),
                image_size=32,
                batch_size=256,
                images=images_small,
            ),
        )
        rows = [row for case in cases for row in _measure(case, images)]
    except (CellError, RequestError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(Table.of_texts(_HEADER, rows, align="llr").markdown())
    print(f"{_ROUNDS} rounds, {threads} CPU thread(s); × is the median of the ratio in a round.")


def _load_images(dataset: str, data_file: Path | None) -> Tensor:
    data = load_data(
        dataset,
        find_dataset(dataset),
        data_dir=ROOT / "data",
        data_file=data_file,
        offline=True,
        image_size=32,
        memory_limit_gb=4.0,
    )
    return next(data.test.batches(None, len(data.test)))[0]


def _small_cnn(channels: int) -> nn.Module:
    widths = (channels, 16, 32, 64)
    blocks = [
        nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2))
        for a, b in pairwise(widths)
    ]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def _measure(case: _Case, images: Tensor) -> Iterator[list[str]]:
    """Yield a row for each way to run a case."""
    images = images[torch.arange(case.images) % len(images)].contiguous()
    size, batch = case.image_size, images[: case.batch_size]
    ways: dict[str, Way] = {
        _PUBLISHED: published_way(case.network, size),
        "batches, channels last": eager_way(case.network, size, case.batch_size),
        "compiled, fp32": compiled_way(case.network, size, batch, "fp32"),
        "compiled, bf16": compiled_way(case.network, size, batch, "bf16"),
    }
    classes = {name: way(images) for name, way in ways.items()}
    rates = _time_rounds(ways, images)
    example = torch.empty(1, images.shape[1], size, size)
    gflops = measure_operations(case.network, example).gflops
    for name in ways:
        precision = "bf16" if "bf16" in name else "fp32"
        rate = statistics.median(rates[name])
        ratios = [a / b for a, b in zip(rates[name], rates[_PUBLISHED], strict=True)]
        peak = measure_peak("cpu", precision).gflops_per_s
        same = (classes[name] == classes[_PUBLISHED]).double().mean()
        yield [
            case.name,
            name,
            f"{rate:.1f}",
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})",
            f"{rate * gflops:.0f}",
            f"{rate * gflops / peak:.0%} of {peak:.0f}",
            f"{same:.1%}",
        ]


def _time_rounds(ways: Mapping[str, Way], images: Tensor) -> dict[str, list[float]]:
    """Return images per second by way, a value for each round."""
    generator = np.random.default_rng(_SEED)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(_ROUNDS):
        for name in generator.permutation([*ways]).tolist():
            start = perf_counter()
            ways[name](images)
            rates[name].append(len(images) / (perf_counter() - start))
    return rates


if __name__ == "__main__":
    typer.run(main)
