"""Print the tables of docs/architectures.md: what each network costs, and which batches fit where.

    python studies/architecture_tables.py
    python studies/architecture_tables.py --only resnet18 --only vit_tiny

Nothing is run: networks and images are on the meta device, so any machine prints the same. A core
takes up to three minutes, most of them for following the training steps of the EfficientNets.

A training step is measured at two batch sizes, in fp32 with AdamW, 1000 classes, all layers
trained. Memory is linear in the batch: what does not depend on it (weights, the optimizer's state,
the gradients that are there at the peak), and what an image adds.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor
from typer import Option

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from harness.errors import unknown_name
from harness.measure.memory import measure_peak_mb, measure_weights_mb
from harness.measure.operations import count_macs, count_parameters
from harness.measure.training_memory import measure_training_peak_mb
from harness.report.table import Column, Table
from monolithic_architectures.families import (
    EFFICIENTNETS,
    RESNETS,
    VITS,
    create_model,
    native_size,
)

GPU_MEMORY_GB = (8, 16, 24, 40, 80)
# The rest is for what is not followed: the context, kernels' scratch memory, fragmentation.
USABLE_SHARE = 0.9
# So large that the peak is where results are kept for the backward pass, not the optimizer's step.
BATCH_SIZES = (64, 128)
# From here on, batches are rounded down to a multiple of 8.
_ROUNDED_FROM = 32

Only = Annotated[list[str] | None, Option(help="An architecture's name; repeatable. All without.")]


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one network costs; MB are 10^6 bytes, GMACs 10^9 multiply-accumulates.

    Attributes:
        name: Of the architecture.
        image_size: Side of its square images, in pixels.
        params: Number of parameters.
        gmacs: Of one image.
        weights_mb: Parameters and buffers.
        peak_mb: Largest sum of live activations when one image is classified, without weights.
        training_fixed_mb: Of a training step, what does not depend on the batch, with weights.
        training_image_mb: What an image adds to it, the image itself included.
    """

    name: str
    image_size: int
    params: int
    gmacs: float
    weights_mb: float
    peak_mb: float
    training_fixed_mb: float
    training_image_mb: float


def main(only: Only = None) -> None:
    """Print a table of costs and one of batch sizes for each family."""
    families = (RESNETS, VITS, EFFICIENTNETS)
    names, known = set(only or ()), [name for family in families for name in family]
    for name in sorted(names - set(known)):
        print(f"error: {unknown_name('architecture', name, known)}", file=sys.stderr)
        sys.exit(2)
    for family in families:
        chosen = [name for name in family if not names or name in names]
        if chosen:
            rows = [measure(name) for name in chosen]
            for columns in (COST_COLUMNS, BATCH_COLUMNS):
                print(Table.of(rows, columns).markdown())


def measure(name: str) -> Row:
    """Return what a network costs at its native image size, with RGB images and 1000 classes."""
    with torch.device("meta"):
        network = create_model({"architecture": name})
    size = native_size(name)
    few, many = BATCH_SIZES
    small, large = (
        measure_training_peak_mb(network, _images(count, size), make_optimizer=torch.optim.AdamW)
        for count in BATCH_SIZES
    )
    each = (large - small) / (many - few)
    image, weights_mb = _images(1, size), measure_weights_mb(network)
    return Row(
        name=name,
        image_size=size,
        params=count_parameters(network),
        gmacs=count_macs(network, image) / 1e9,
        weights_mb=weights_mb,
        peak_mb=measure_peak_mb(network, image),
        training_fixed_mb=weights_mb + small - few * each,
        training_image_mb=each + image.nbytes / 1e6,
    )


def largest_batch(row: Row, memory_gb: float) -> int | None:
    """Return the largest batch whose training step fits into a GPU's memory of 10^9 bytes each.

    From 32 on it is a multiple of 8; None: not a single image fits.
    """
    free_mb = USABLE_SHARE * 1e3 * memory_gb - row.training_fixed_mb
    images = int(free_mb / row.training_image_mb)
    if images < 1:
        return None
    return images if images < _ROUNDED_FROM else images - images % 8


COST_COLUMNS = (
    Column[Row](name="Architecture", get="name"),
    Column[Row](name="Image", get="image_size", digits=0),
    Column[Row](name="Params M", get="params", digits=2, scale=1e-6),
    Column[Row](name="GMACs", get="gmacs", digits=3),
    Column[Row](name="Weights MB", get="weights_mb", digits=1),
    Column[Row](name="Peak MB", get="peak_mb", digits=1),
)
BATCH_COLUMNS = (
    Column[Row](name="Architecture", get="name"),
    Column[Row](name="Fixed MB", get="training_fixed_mb", digits=0),
    Column[Row](name="MB an image", get="training_image_mb", digits=1),
    *(
        Column[Row](name=f"{gb} GB", get=partial(largest_batch, memory_gb=gb), align="r")
        for gb in GPU_MEMORY_GB
    ),
)


def _images(count: int, size: int) -> Tensor:
    return torch.empty(count, 3, size, size, device="meta")


if __name__ == "__main__":
    typer.run(main)
