"""Measure what each part of our TRUNK recipes brings: grow trees with one part more each time.

    python studies/trunk_recipe.py --dataset emnist --data-file ../shared/data/emnist47.npz \
        --every 10 --seeds 1,2 --out ablation
    python studies/trunk_recipe.py --dataset cifar10 --data-file cifar10_jpeg --recipe efficient \
        --every 10 --epochs 40 --seeds 1,2,3 --out efficient

Each tree is a run of comparisons.py with a results folder of its own under --out. A tree whose
record is there is not grown again, so an interrupted run goes on where it was. Of `--recipe
efficient` and `wide` the first row is the control, one network of a path's layers, and `--epochs`
are those of joint training, including a teacher's.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from typer import Option

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from harness.plan.duration import count_epochs
from harness.records.cell import Record
from harness.report.frame import frame_records
from harness.report.table import Table, write_csv
from harness.settings import load_settings
from harness.settings_spec import TrainingSettings
from harness.util.files import write_text
from studies.common import assign, run_cell

_STAGES = ("training", "tree.grouping", "tree.class_below")
_NOTHING = {
    **{f"{stage}.balance_classes": False for stage in _STAGES},
    "tree.held_out": 0,
    "tree.warm_start": False,
    "tree.feature_views": 1,
    "tree.joint": None,
}
# Each has all the parts before it. The published one differs from the first of ours in optimizer,
# schedule, augmentation, smoothing and precision.
_PARTS: dict[str, dict[str, object]] = {
    "ours: AdamW, one cycle, shifts, smoothing": {},
    "+ classes equally often": {f"{stage}.balance_classes": True for stage in _STAGES},
    "+ held-out likelihood": {"tree.held_out": 0.1},
    "+ warm start": {"tree.warm_start": True},
    "+ three feature views": {"tree.feature_views": 3},
    "+ joint training": {},
    "+ folding": {"tree.fold": True},
}
_FLAT = {"tree.root_layers": "flat", "tree.volatility": 1e6, "tree.root_volatility": None}
# A tree, or its control, that learns by itself.
_ALONE = {
    "training.epochs": 4,
    "tree.grouping.epochs": 2,
    "tree.start_from_teacher": False,
    "tree.distillation": None,
    "tree.teacher": None,
}
# The table needs accuracy and operations, so speed is measured as briefly as possible.
_QUICK = assign(
    {
        "measurement.latency_rounds": 20,
        "measurement.latency_seconds": 0.1,
        "measurement.throughput_seconds": 0.1,
        "measurement.throughput_batch_sizes": [64],
    }
)
_HEADER = ("Recipe", "Top-1 %", "Range", "Paths", "GMACs", "Training, min")

Dataset = Annotated[str, Option(help="A data set's name.")]
DataFile = Annotated[Path, Option(help="An .npz file with its images.")]
Out = Annotated[Path, Option(help="Folder of the trees and their records.")]
Every = Annotated[int, Option(help="Train on every n-th image.", min=1)]
Epochs = Annotated[int, Option(help="Of every stage, or of joint training.", min=1)]
Volatility = Annotated[float, Option(help="Of every tree of the usual recipe.")]
RecipeName = Annotated[
    Literal["usual", "efficient", "wide"], Option(help="Whose parts are compared.")
]
Seeds = Annotated[str, Option(help="A tree of each recipe for each of them.")]
Csv = Annotated[Path | None, Option(help="A file to write the table into as well.")]


def main(
    dataset: Dataset,
    data_file: DataFile,
    out: Out,
    every: Every = 1,
    epochs: Epochs = 6,
    volatility: Volatility = 3.0,
    seeds: Seeds = "1",
    recipe: RecipeName = "usual",
    csv: Csv = None,
) -> None:
    """Grow the trees and print a table of them."""
    out.mkdir(parents=True, exist_ok=True)
    images = _thin(data_file, every, out)
    rows = []
    recipes = (
        _usual(epochs, volatility) if recipe == "usual" else _taught(recipe, dataset, epochs, every)
    )
    for name, options in recipes.items():
        records = []
        for seed in seeds.split(","):
            own = [*options, *_QUICK, "--set", f"seed={seed}"]
            folder = out / f"{re.sub('[^a-z]+', '-', name.lower()).strip('-')}-seed{seed}"
            records.append(run_cell(dataset, "trunk", images, own, out / "weights", folder))
        rows.append(_row(name, records))
    if csv:
        write_text(csv, write_csv(dict(zip(_HEADER, row, strict=True)) for row in rows))
    print(Table.of_texts(_HEADER, rows).markdown(), end="")


def _usual(epochs: int, volatility: float) -> dict[str, list[str]]:
    """Return the options of each recipe, by its name."""
    alike = {f"{stage}.epochs": epochs for stage in _STAGES[:2]} | {"tree.volatility": volatility}
    published = assign({"tree.backbone": "compact", **alike})
    recipes = {"published": ["--recipe", "published", *published]}
    settings: dict[str, object] = {f"{stage}.epochs": epochs for stage in _STAGES}
    settings |= {**_NOTHING, "tree.volatility": volatility}
    for name, part in _PARTS.items():
        settings |= part
        if "joint" in name:
            del settings["tree.joint"]
            settings["tree.joint.epochs"] = epochs
        recipes[name] = assign(settings)
    return recipes


def _taught(name: str, dataset: str, epochs: int, every: int) -> dict[str, list[str]]:
    """Return the options of each recipe up to the named one, whose tree has a teacher, by its name.

    All have as many epochs, summed over the levels of a tree and with those of a teacher, and
    moving averages of weights over as many, which have `every` times fewer steps.
    """
    recipe: Any = load_settings(dataset, "trunk", {}, recipe=name)
    teacher, joint = (
        replace(stage, ema_decay=stage.ema_decay**every)
        for stage in (recipe.tree.teacher, recipe.tree.joint)
    )
    averaged = {"tree.joint.ema_decay": joint.ema_decay}
    # Without a teacher steps are larger; those of joint training are the teacher's.
    alone: dict[str, Any] = _ALONE | {"training.learning_rate": teacher.learning_rate}
    for stage in _STAGES[1:]:
        alone[f"{stage}.learning_rate"] = teacher.learning_rate / 2
    for setting in ("learning_rate", "batch_size", "warmup_fraction"):
        alone[f"tree.joint.{setting}"] = getattr(teacher, setting)
    settings = {**alone, "tree.joint.epochs": epochs, "tree.joint.ema_decay": None}
    whole = load_settings(dataset, "trunk", settings, recipe=name)
    levels = count_epochs(whole) - whole.training.epochs
    flat = {**_FLAT, **alone, **averaged, "tree.joint.epochs": levels}
    parts: dict[str, dict[str, Any]] = {"tree": {}}
    if recipe.training.alternate_flip:
        settings |= {"tree.joint.alternate_flip": False, "tree.joint.horizontal_flip": True}
        on = {"tree.joint.alternate_flip": True, "tree.joint.horizontal_flip": False}
        parts["+ alternating flip"] = on
    parts["+ moving average of the weights"] = averaged
    parts["+ half of the targets from one network"] = {
        "tree.distillation": recipe.tree.distillation,
        **_divide(epochs, teacher, joint),
    }
    base = ["--recipe", name]
    recipes = {"control: one network": [*base, *assign(flat)]}
    for title, part in parts.items():
        settings |= part
        recipes[title] = [*base, *assign(settings)]
    grown = count_epochs(recipe) - teacher.epochs - joint.epochs
    last = _divide(count_epochs(whole) - grown, teacher, joint)
    return recipes | {"+ a start from its layers": [*base, *assign(averaged | last)]}


def _divide(epochs: int, teacher: TrainingSettings, joint: TrainingSettings) -> dict[str, Any]:
    """Divide epochs between a teacher and joint training as a recipe does."""
    taught = epochs * teacher.epochs // (teacher.epochs + joint.epochs)
    return {
        "tree.teacher": asdict(replace(teacher, epochs=taught)),
        "tree.joint.epochs": epochs - taught,
    }


def _thin(data_file: Path, every: int, out: Path) -> Path:
    """Write images anew with every n-th training image and all test images; return their path.

    They are an .npz file, or a folder train/<class>/ and test/<class>/ of image files.
    """
    if every == 1:
        return data_file
    if data_file.is_dir():
        return _thin_folder(data_file, every, out / f"{data_file.name}_every{every}")
    path = out / f"{data_file.stem}_every{every}.npz"
    if not path.exists():
        with np.load(data_file) as arrays:
            kept = {
                name: array[::every] if name.startswith("train_") else array
                for name, array in arrays.items()
            }
        np.savez_compressed(path, **kept)
    return path


def _thin_folder(folder: Path, every: int, thinned: Path) -> Path:
    if not thinned.exists():
        unfinished = thinned.with_name(f"{thinned.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        for part in sorted(folder.glob("*/*")):
            files = sorted(part.iterdir())
            kept = files[::every] if part.parent.name == "train" else files
            target = unfinished / part.relative_to(folder)
            target.mkdir(parents=True)
            for file in kept:
                shutil.copyfile(file, target / file.name)
        unfinished.rename(thinned)
    return thinned


def _row(name: str, records: Sequence[Record]) -> list[str]:
    frame = frame_records(records)
    accuracies, means = frame["accuracy_top1"], frame.mean(numeric_only=True)
    paths = sorted(len(record.paths) for record in records)
    return [
        name,
        f"{means['accuracy_top1']:.2f}",
        f"{accuracies.min():.2f}–{accuracies.max():.2f}",
        "–".join(map(str, dict.fromkeys((paths[0], paths[-1])))),
        f"{means['gmacs']:.4f}",
        f"{means['training_seconds'] / 60:.0f}",
    ]


if __name__ == "__main__":
    typer.run(main)
