"""Measure what the harness adds to the bare training and evaluation loops of a script.

    python studies/harness_overhead.py --model resnet

Both train the same network on the same images with the same optimizer and then classify the test
images, in turn, round by round. The harness also shuffles by its own seeds, resizes and augments,
writes checkpoints, weights and logs, and checks what it does. Measuring costs is no overhead: it
takes as long as the settings say, whatever the network.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor
from torch.nn.functional import cross_entropy
from typer import Option

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.data.loading import ImageData
from harness.data.preprocess import Preprocess
from harness.data.splits import Split
from harness.errors import exit_on_error
from harness.jobs import Job
from harness.measure.conditions import set_threads
from harness.networks.build import build_network, make_preprocess
from harness.report.table import Table
from harness.run.accuracy import measure_accuracy
from harness.spec import ModelSpec
from harness.training.fit import learn
from harness.training.optimizers import make_optimizer
from studies.common import DataFile, Dataset, Threads, in_turn, load_study, spread

# A recipe without extras, so that the bare loop stays simple.
_RECIPE = (
    *("training.start=random", "training.precision=fp32", "training.schedule=constant"),
    *("training.shift_pixels=0", "training.label_smoothing=0", "training.drop_last=true"),
)

Model = Annotated[str, Option(help="A model's name.")]
Epochs = Annotated[int, Option(help="Of each training.", min=1)]
Rounds = Annotated[int, Option(help="How often each is done.", min=1)]


def main(
    model: Model = "resnet",
    dataset: Dataset = "digits",
    data_file: DataFile = None,
    epochs: Epochs = 2,
    rounds: Rounds = 3,
    threads: Threads = 1,
) -> None:
    """Train and evaluate both ways, and print what the harness costs on top."""
    settings = [*_RECIPE, f"training.epochs={epochs}", f"threads={threads}"]
    with exit_on_error():
        job, spec, data = load_study(dataset, model, data_file, settings)
    set_threads(job.settings.threads)
    times = []
    with tempfile.TemporaryDirectory() as folder:
        job = dataclasses.replace(job, weights_dir=Path(folder), results_dir=Path(folder))
        for number in range(rounds):
            file = Path(folder) / f"{number}.safetensors"
            ways = {way.__name__: partial(way, job, spec, data, file) for way in (_bare, _harness)}
            turns = in_turn(ways, np.random.default_rng(number))
            times.append({name: seconds for name, seconds, _ in turns})
    _print(times, job)


def _harness(job: Job, spec: ModelSpec, data: ImageData, path: Path) -> tuple[float, float]:
    start = perf_counter()
    network, _ = learn(job, spec, data, path)
    trained = perf_counter()
    measure_accuracy(network, job, spec, data)
    return trained - start, perf_counter() - trained


def _bare(job: Job, spec: ModelSpec, data: ImageData, _: Path) -> tuple[float, float]:
    settings, recipe = job.settings, job.settings.training
    preprocess = make_preprocess(settings, spec)
    start = perf_counter()
    images, labels = _all(data.train, preprocess)
    network = build_network(spec, settings, len(data.classes), data.channels)
    network = network.to(memory_format=torch.channels_last).train()
    optimizer = make_optimizer(network, recipe)
    for _epoch in range(recipe.epochs):
        order = torch.randperm(len(labels))
        for rows in torch.split(order, recipe.batch_size)[: len(labels) // recipe.batch_size]:
            batch = images[rows].contiguous(memory_format=torch.channels_last)
            loss = cross_entropy(network(batch)[:, : len(data.classes)], labels[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    trained = perf_counter()
    images, labels = _all(data.test, preprocess)
    correct = 0
    network.eval()
    with torch.inference_mode():
        size = settings.evaluation.batch_size
        for batch, wanted in zip(torch.split(images, size), torch.split(labels, size), strict=True):
            correct += int((network(batch).argmax(1) == wanted).sum())
    return trained - start, perf_counter() - trained


def _all(split: Split, preprocess: Preprocess) -> tuple[Tensor, Tensor]:
    stored, labels = next(split.batches(None, len(split)))
    return preprocess(stored), labels


def _print(times: list[dict[str, tuple[float, float]]], job: Job) -> None:
    rows = []
    for part, phases in {"training": (0,), "evaluation": (1,), "both": (0, 1)}.items():
        bare, ours = (
            np.array([each[way] for each in times])[:, phases].sum(1)
            for way in ("_bare", "_harness")
        )
        ratios = spread((ours / bare).tolist(), digits=3)
        rows.append([part, f"{np.median(bare):.2f}", f"{np.median(ours):.2f}", ratios])
    print(Table.of_texts(("Part", "Bare, s", "Harness, s", "Ratio (range)"), rows).markdown())
    print(
        f"{job.cell}, {job.settings.training.epochs} epochs, {len(times)} rounds, "
        f"{torch.get_num_threads()} CPU thread(s); the ratio is the median over the rounds."
    )


if __name__ == "__main__":
    typer.run(main)
