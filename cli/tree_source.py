"""Which tree, and which images for it: the options that the commands on trees share."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from harness.errors import CellError, RequestError
from harness.jobs import Cell, Job, Request
from harness.registry import ROOT
from harness.spec import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor

    from harness.data.loading import ImageData
    from harness.data.splits import Split
    from harness.measure.accuracy import Accuracy
    from trunk.routing import Trunk

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


def source(
    dataset: Annotated[str | None, Option(help="A data set's name.")] = None,
    data_dir: Annotated[
        Path, Option(help="Folder of the official images.", show_default="data")
    ] = ROOT / "data",
    data_file: Annotated[
        Path | None,
        Option(help="Images to use instead: an .npz file, or a folder with train/<class>/*.png."),
    ] = None,
    weights: Annotated[
        str, Option(help="auto (the tree trained for this data set) or published.")
    ] = "auto",
    weights_dir: Annotated[Path, Option(help="Folder of weights.", show_default="weights")] = ROOT
    / "weights",
    published_dir: Annotated[
        Path | None, Option(help="Folder of the published weights, where they need not be fetched.")
    ] = None,
    recipe: Annotated[str, Option(help="Settings from configs/trunk.<recipe>.yaml.")] = "",
    threads: Annotated[str | None, Option(metavar="NUMBER", help="CPU threads.")] = None,
    assignments: Annotated[
        list[str] | None, Option("--set", metavar="KEY=VALUE", help="Any setting; repeatable.")
    ] = None,
    offline: Annotated[bool, Option("--offline", help="Never use the network.")] = False,
) -> Request:
    """Return what the options name."""
    flags = {"weights": weights} | ({} if threads is None else {"threads": threads})
    return Request(
        datasets=[] if dataset is None else [dataset],
        models=["trunk"],
        device="cpu",
        overrides=flags,
        assignments=assignments or [],
        data_dir=data_dir,
        data_file=data_file,
        weights_dir=weights_dir,
        published_dir=published_dir,
        recipe=recipe,
        results_dir=ROOT / "results",
        offline=offline,
        force=False,
        verbose=False,
    )


def takes_source(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command whose first parameter is a `Request` the options of `source` in its place.

    What goes wrong in the command is one line, and exit code 2 or 1.
    """
    shared = inspect.signature(source, eval_str=True).parameters
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

    def run(**options: Any) -> None:
        request = source(**{name: options.pop(name) for name in shared})
        try:
            command(request, **options)
        except (CellError, RequestError) as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2 if isinstance(error, RequestError) else 1)

    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in (*own, *shared.values())
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run


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
