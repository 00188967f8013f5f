"""The tree and the images that a command on trees is for: its options, loading and routing."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from cli import options
from harness.errors import RequestError, exit_on_error
from harness.jobs import Cell, Job, Request
from harness.registry import ROOT
from harness.spec import ModelSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from harness.data.loading import ImageData
    from harness.data.splits import Split
    from harness.measure.accuracy import Accuracy
    from trunk.routing import Trunk

Weights = Annotated[str, Option(help="auto (the tree trained for this data set) or published.")]
PublishedDir = Annotated[
    Path | None, Option(help="Folder of the published weights, where they need not be fetched.")
]
Recipe = Annotated[str, Option(help="Settings from configs/trunk.<recipe>.yaml.")]
Threads = Annotated[str | None, Option(metavar="NUMBER", help="CPU threads.")]

# Routing splits each batch among the nodes, so batches need to be large.
_BATCH_SIZE = 256


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A tree with its weights, in evaluation mode on the CPU, and the images that it is for."""

    job: Job
    spec: ModelSpec
    trunk: Trunk
    data: ImageData

    @property
    def dataset(self) -> str:
        """The data set's name."""
        return self.job.cell.dataset

    @property
    def title(self) -> str:
        """The name of the tree in pictures."""
        from harness.registry import find_dataset

        known = find_dataset(self.dataset)
        return f"{self.spec.label}, {known.label if known else self.dataset}"


def takes_tree(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that choose a tree, as its `request`, and report its errors."""

    @functools.wraps(command)
    def run(**given: Any) -> None:
        own = {name: given[name] for name in inspect.signature(command).parameters if name in given}
        with exit_on_error():
            command(options.make_request({**given, "models": ["trunk"]}), **own)

    signatures = [inspect.signature(each, eval_str=True) for each in (command, _tree_options)]
    (_, *own), shared = [signature.parameters.values() for signature in signatures]
    run.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
    return run


def _tree_options(
    dataset: options.OneDataset = None,
    data_dir: options.DataDir = ROOT / "data",
    data_file: options.DataFile = None,
    weights: Weights = "auto",
    weights_dir: options.WeightsDir = ROOT / "weights",
    published_dir: PublishedDir = None,
    recipe: Recipe = "",
    threads: Threads = None,
    assignments: options.Assignments = None,
    offline: options.Offline = False,
) -> None:
    """Declare the options that choose a tree and its images."""


def load_tree(request: Request) -> Loaded:
    """Return the tree that the command line names, and its images."""
    from harness.data.loading import load_job_data
    from harness.networks.weights_files import trained_weights_path
    from harness.run.provision import ready_network

    job, spec = make_tree_job(request)
    data = load_job_data(job, spec)
    path = trained_weights_path(job, data.source.sha256)
    if job.settings.weights != "published" and not path.exists():
        raise RequestError(f"{path}: no such tree; `{job.command}` grows it")
    ready = ready_network(job, spec, data)
    return Loaded(job=job, spec=spec, trunk=ready.network, data=data)  # type: ignore[arg-type]


def make_tree_job(request: Request) -> tuple[Job, ModelSpec]:
    """Return the job of the one tree that the command line names."""
    from harness.plan.jobs import make_job, name_datasets

    names = name_datasets(request)
    if len(names) != 1:
        raise RequestError("--dataset is missing: name one")
    return make_job(request, Cell(dataset=names[0], model="trunk", device="cpu"))


def evaluate_routed(loaded: Loaded, images: Split | None = None) -> Accuracy:
    """Route images, by default the test images, through a tree, and return its accuracy.

    The class that a walk ends in counts as the class of the highest logit.
    """
    from torch.nn.functional import one_hot

    from harness.measure.accuracy import evaluate

    trunk, classes = loaded.trunk.prepare_for_inference(), len(loaded.data.classes)

    def choose(batch: Tensor) -> Tensor:
        return one_hot(trunk.route(batch), classes).float()

    with evaluation_precision(loaded):
        return evaluate(choose, tree_batches(loaded, images or loaded.data.test), classes)


def evaluation_precision(loaded: Loaded) -> torch.autocast:
    """Return the context in which networks compute in the precision of the evaluation."""
    import torch

    low_precision = loaded.job.settings.evaluation.precision == "bf16"
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=low_precision)


def tree_batches(loaded: Loaded, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
    """Set the number of threads, and yield images as the tree takes them, with their labels."""
    from harness.measure.conditions import set_threads
    from harness.networks.build import make_preprocess
    from harness.util.progress import bar

    settings, done = loaded.job.settings, 0
    set_threads(settings.threads)
    preprocess = make_preprocess(settings, loaded.spec)
    with bar(f"{loaded.dataset}, accuracy", len(split)) as report:
        for stored, labels in split.batches(None, _BATCH_SIZE):
            yield preprocess(stored), labels
            done += len(labels)
            report(done, "")
