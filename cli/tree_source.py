"""Which tree, and which images for it: what the commands on trees share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from cli.options import make_request
from harness.errors import RequestError
from harness.jobs import Cell, Job, Request
from harness.spec import ModelSpec

if TYPE_CHECKING:
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
    """A tree with its weights, and the images that it is for.

    Attributes:
        job: Of the tree's cell.
        spec: Of the model.
        trunk: In evaluation mode, on the CPU.
        data: The images, with the names of the classes.
    """

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
        """What to call the tree in pictures."""
        from harness.registry import find_dataset

        known = find_dataset(self.dataset)
        return f"{self.spec.label}, {known.label if known else self.dataset}"


def tree_request(options: Mapping[str, Any]) -> Request:
    """Return what the options of a command on trees ask for."""
    return make_request({**options, "models": ["trunk"]})


def load_tree(request: Request) -> Loaded:
    """Return the tree that the command line names, and its images.

    Raises:
        RequestError: The tree or the images cannot be had, or do not fit each other.
    """
    from harness.data.loading import load_job_data
    from harness.run.provision import ready_network

    job, spec = make_tree_job(request)
    data = load_job_data(job, spec)
    if job.settings.weights != "published":
        _check_trained(job, data)
    ready = ready_network(job, spec, data)
    return Loaded(job=job, spec=spec, trunk=ready.network, data=data)  # type: ignore[arg-type]


def make_tree_job(request: Request) -> tuple[Job, ModelSpec]:
    """Return the job of the one tree that the command line names.

    Raises:
        RequestError: It names none.
    """
    from harness.plan.jobs import make_job, name_datasets

    names = name_datasets(request)
    if len(names) != 1:
        raise RequestError("--dataset is missing: name one")
    return make_job(request, Cell(dataset=names[0], model="trunk", device="cpu"))


def evaluate_routed(loaded: Loaded, images: Split | None = None) -> Accuracy:
    """Route images through a tree; a class that a walk ends in counts as the highest logit.

    Args:
        loaded: The tree.
        images: Which images; None: the test images.
    """
    import torch
    from torch.nn.functional import one_hot

    from harness.measure.accuracy import evaluate
    from harness.measure.conditions import set_threads
    from harness.networks.build import make_preprocess
    from harness.util.progress import bar

    settings = loaded.job.settings
    set_threads(settings.threads)
    preprocess = make_preprocess(settings, loaded.spec)
    split, trunk = images or loaded.data.test, loaded.trunk.prepare_for_inference()

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        done = 0
        with bar(f"{loaded.dataset}, accuracy", len(split)) as report:
            for stored, labels in split.batches(None, _BATCH_SIZE):
                yield preprocess(stored), labels
                done += len(labels)
                report(done, "")

    def choose(batch: Tensor) -> Tensor:
        return one_hot(trunk.route(batch), len(loaded.data.classes)).float()

    low_precision = settings.evaluation.precision == "bf16"
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low_precision):
        return evaluate(choose, batches(), len(loaded.data.classes))


def _check_trained(job: Job, data: ImageData) -> None:
    from harness.networks.weights import trained_weights_path

    path = trained_weights_path(job, data.source.sha256)
    if not path.exists():
        raise RequestError(f"{path}: no such tree; `{job.command}` grows it")
