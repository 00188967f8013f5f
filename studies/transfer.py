"""Train EfficientNet-Lite0 at 224 px from ImageNet weights, whole or in part, and from random ones.

    python studies/transfer.py --cifar10 cifar10_jpeg --emnist emnist.npz --out results/transfer

Each row of docs/training.md is a run of comparisons.py on one thread, with a results folder of its
own below --out. A row whose record is there is not trained again, so an interrupted run goes on.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from harness.records.cell import Record
from harness.report.table import Column, Table
from studies.common import assign, run_cell

MODEL = "efficientnet_lite0"
# Parts of eight images stay in a core's caches: 1.6 times the speed of whole batches of 32.
_ALIKE = [
    "--epochs",
    "1",
    *assign({"training.channels_last": True, "training.micro_batch_size": 8}),
]
# By the folder of the record: the data set, what is trained, and the settings for that.
ROWS: dict[str, tuple[str, str, dict[str, object]]] = {
    "cifar10-head": ("cifar10", "the head", {"training.freeze_backbone": True}),
    "cifar10-last-layers": ("cifar10", "groups 5 to 9 and the head", {"training.freeze_layers": 4}),
    "cifar10-all-layers": ("cifar10", "all layers", {}),
    "cifar10-random-start": ("cifar10", "all layers", {"training.start": "random"}),
    "emnist-all-layers": ("emnist", "all layers", {}),
}

Images = Annotated[Path | None, Option(help="Its images; its rows are left out without.")]
Out = Annotated[Path, Option(help="Folder of the rows' records.")]
Weights = Annotated[Path, Option(help="Folder of weights.")]


def main(
    out: Out, cifar10: Images = None, emnist: Images = None, weights: Weights = ROOT / "weights"
) -> None:
    """Train the rows and print a table of them."""
    images = {"cifar10": cifar10, "emnist": emnist}
    records = {
        name: run_cell(dataset, MODEL, file, [*_ALIKE, *assign(settings)], weights, out / name)
        for name, (dataset, _, settings) in ROWS.items()
        if (file := images[dataset])
    }
    print(Table.of(records.items(), _COLUMNS).markdown(), end="")


def _accuracy(row: tuple[str, Record]) -> str:
    part = row[1].accuracy
    return f"{part.accuracy_top1:.2f} ({part.accuracy_top1_low:.1f}–{part.accuracy_top1_high:.1f})"


_COLUMNS = (
    Column[tuple[str, Record]](name="Images", get=lambda row: row[1].data.data_name),
    Column[tuple[str, Record]](name="Start", get=lambda row: row[1].weights.start),
    Column[tuple[str, Record]](name="Trained", get=lambda row: ROWS[row[0]][1]),
    Column[tuple[str, Record]](
        name="Params M", get=lambda row: row[1].operations.params_trainable, digits=3, scale=1e-6
    ),
    Column[tuple[str, Record]](name="Top-1 % (95%)", get=_accuracy, align="r"),
    Column[tuple[str, Record]](
        name="Training, min",
        get=lambda row: row[1].weights.training_seconds,
        digits=0,
        scale=1 / 60,
    ),
)


if __name__ == "__main__":
    typer.run(main)
