"""Print the tables of docs/architectures.md: what each network costs, and which batches fit where.

    python studies/architecture_tables.py
    python studies/architecture_tables.py --only resnet18 --only vit_tiny

Networks and images are on the meta device, so any machine prints the same. One core takes up to
three minutes, most of them for the training steps of the EfficientNets.

A training step is measured at two batch sizes, in fp32 with AdamW, 1000 classes, all layers
trained. Its memory is linear in the batch size: a fixed part (weights, the optimizer's state, the
gradients that exist at the peak) and a part for each image.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn
from typer import Option

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.errors import exit_on_error, unknown_name
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
# The rest is for what is not measured: the CUDA context, kernels' scratch memory, fragmentation.
USABLE_SHARE = 0.9
# Large enough for the peak to lie in the backward pass and not in the optimizer's step.
BATCH_SIZES = (64, 128)
# From here on, batches are rounded down to a multiple of 8.
_ROUNDED_FROM = 32

Row = dict[str, Any]
Only = Annotated[list[str] | None, Option(help="An architecture's name; repeatable. All without.")]


def main(only: Only = None) -> None:
    """Print a table of costs and one of batch sizes for each family."""
    families = (RESNETS, VITS, EFFICIENTNETS)
    known = [name for family in families for name in family]
    with exit_on_error():
        for name in sorted({*(only or ())} - {*known}):
            raise unknown_name("architecture", name, known)
    for family in families:
        chosen = [name for name in family if not only or name in only]
        if chosen:
            print(Table.of(map(measure_costs, chosen), COST_COLUMNS).markdown())
            print(Table.of(map(measure_training, chosen), BATCH_COLUMNS).markdown())


def measure_costs(name: str) -> Row:
    """Return what a network costs with one RGB image of its native size and 1000 classes."""
    network, image = _build(name), _images(1, native_size(name))
    return {
        "name": name,
        "image_size": native_size(name),
        "params": count_parameters(network),
        "gmacs": count_macs(network, image) / 1e9,
        "weights_mb": measure_weights_mb(network),
        "peak_mb": measure_peak_mb(network, image),
    }


def measure_training(name: str) -> Row:
    """Return what a training step takes: a fixed part, weights included, and one for each image."""
    network, size = _build(name), native_size(name)
    small, large = (
        measure_training_peak_mb(network, _images(count, size), make_optimizer=torch.optim.AdamW)
        for count in BATCH_SIZES
    )
    few, many = BATCH_SIZES
    each = (large - small) / (many - few)
    return {
        "name": name,
        "fixed_mb": measure_weights_mb(network) + small - few * each,
        "image_mb": each + _images(1, size).nbytes / 1e6,
    }


def largest_batch(step: Row, memory_gb: float) -> int | None:
    """Return the largest batch whose training step fits into a GPU's memory of 10^9 bytes each.

    From 32 on it is a multiple of 8; None: not a single image fits.
    """
    images = int((USABLE_SHARE * 1e3 * memory_gb - step["fixed_mb"]) / step["image_mb"])
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
    Column[Row](name="Fixed MB", get="fixed_mb", digits=0),
    Column[Row](name="MB an image", get="image_mb", digits=1),
    *(
        Column[Row](name=f"{gb} GB", get=partial(largest_batch, memory_gb=gb), align="r")
        for gb in GPU_MEMORY_GB
    ),
)


def _build(name: str) -> nn.Module:
    with torch.device("meta"):
        return create_model({"architecture": name})


def _images(count: int, size: int) -> Tensor:
    return torch.empty(count, 3, size, size, device="meta")


if __name__ == "__main__":
    typer.run(main)
