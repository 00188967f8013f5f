"""Trees of several volatilities: grow each that is not there yet, and judge it."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cli.tree_source import Loaded, evaluate_routed, make_tree_job
from harness.errors import RequestError
from harness.jobs import Job, Request
from harness.spec import ModelSpec

if TYPE_CHECKING:
    from harness.data.loading import ImageData
    from harness.data.splits import Split
    from trunk.ablation import Row

_MOST_VALUES = 100
# The first stage does not depend on the volatility, so all the trees share it.
_SHARED_STAGE = "root.classes"


def parse_values(text: str) -> list[float]:
    """Return the volatilities that `first:last:step` means, both ends included, all above 0."""
    try:
        first, last, step = map(float, text.split(":"))
    except ValueError:
        first = last = step = math.nan
    count = (last - first) / step if step else math.nan
    if not (math.isfinite(count) and 0 <= count < _MOST_VALUES and first > 0 and last > 0):
        raise RequestError(
            f"--volatility '{text}': first:last:step wanted, all above 0 and at most "
            f"{_MOST_VALUES} values, such as 0.7:1.3:0.1"
        )
    return [round(first + index * step, 9) for index in range(math.floor(count + 1e-9) + 1)]


def grow_and_judge(request: Request, volatilities: list[float]) -> Iterator[Row]:
    """Yield a row for each volatility as soon as its tree is there."""
    from harness.data.loading import load_job_data
    from harness.networks.weights_files import stages_folder, trained_weights_path, unfinished_path

    jobs = []
    for value in volatilities:
        absent = ("root_volatility", "joint", "distillation", "teacher")
        own = [f"tree.volatility={value}", *(f"tree.{name}=null" for name in absent)]
        own += [f"tree.{name}=false" for name in ("logit_adjustment", "start_from_teacher")]
        assignments = [*request.assignments, *own]
        jobs.append(make_tree_job(dataclasses.replace(request, assignments=assignments)))
    data = load_job_data(*jobs[0])
    first: Path | None = None
    for value, (job, spec) in zip(volatilities, jobs, strict=True):
        stages = stages_folder(unfinished_path(job, data.source.sha256))
        if first is not None and not trained_weights_path(job, data.source.sha256).exists():
            _share(first, stages)
        first = first or stages
        yield _judge(job, spec, data, value)


def _share(stages: Path, other: Path) -> None:
    """Copy the shared stage from the folder of one tree to that of another, unless it is there."""
    # The JSON file first: a stage counts as done once its weights are there.
    for name in (f"{_SHARED_STAGE}.json", f"{_SHARED_STAGE}.safetensors"):
        if (stages / name).exists() and not (other / name).exists():
            other.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(stages / name, other / name)


def _judge(job: Job, spec: ModelSpec, data: ImageData, volatility: float) -> Row:
    from harness.measure.operations import count_parameters
    from harness.run.provision import ready_network
    from trunk.ablation import Row

    trunk = ready_network(job, spec, data).network
    loaded = Loaded(job=job, spec=spec, trunk=trunk, data=data)  # type: ignore[arg-type]
    tree = loaded.trunk.tree
    images, split = _images(job, data)
    accuracy = evaluate_routed(loaded, split)
    columns = zip(*accuracy.confusion_matrix, strict=True)
    shortest, mean, longest = _path_gmacs(loaded, [sum(column) for column in columns])
    return Row(
        dataset=job.cell.dataset,
        volatility=volatility,
        images=images,
        n_images=accuracy.n_test,
        accuracy_top1=accuracy.accuracy_top1,
        accuracy_top1_low=accuracy.accuracy_top1_low,
        accuracy_top1_high=accuracy.accuracy_top1_high,
        gmacs_shortest=shortest,
        gmacs_mean=mean,
        gmacs_longest=longest,
        nodes=len(tree.nodes),
        depth=max(len(node.path) + 1 for node in tree.nodes),
        root_groups=len(tree.root.groups),
        params=count_parameters(loaded.trunk),
    )


def _images(job: Job, data: ImageData) -> tuple[str, Split]:
    """Return the held-out images where there are some, else the test images."""
    from harness.data.splits import take_rows
    from trunk.growing import choose_held_out

    tree = job.settings.tree
    if tree is None or not tree.held_out:
        return "test", data.test
    if data.val is not None:
        return "held-out", data.val
    held_out = choose_held_out(data.train.labels, tree.held_out, job.settings.seed)
    return "held-out", take_rows(data.train, held_out.nonzero()[:, 0])


def _path_gmacs(loaded: Loaded, images_by_class: list[int]) -> tuple[float, float, float]:
    """Return the GMACs of the cheapest path, of the mean image and of the dearest path."""
    import torch

    from harness.measure.operations import count_macs

    example = torch.empty(1, *loaded.trunk.tree.root.network.input_shape)
    paths = loaded.trunk.paths()
    gmacs = [count_macs(path.network, example) / 1e9 for path in paths]
    images = [sum(images_by_class[label] for label in path.classes) for path in paths]
    total = sum(count * weight for count, weight in zip(gmacs, images, strict=True))
    return min(gmacs), total / sum(images_by_class), max(gmacs)
