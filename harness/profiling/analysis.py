"""One model from its name to its figures, or to the reason why there are none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from operator import itemgetter

import torch
from torch import Tensor, nn

from harness.errors import CellError
from harness.measure.operations import count_parameters, count_trainable_parameters
from harness.profiling.building import Wanted, build
from harness.profiling.graph import Graph
from harness.profiling.hardware import ELEMENT_BYTES, Precision
from harness.profiling.metrics import Accounting, Metrics, NetworkSize, compute_metrics
from harness.profiling.names import ModelName
from harness.profiling.published import trace_published
from harness.profiling.recording import record
from harness.profiling.roofline import Roof

_BUILT_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class Options:
    """How models are counted; the output names all of it.

    Attributes:
        accounting: complete or published.
        image_size: Side of the square images, in pixels; None: what each model was made for.
        batch_size: Images in the forward pass, which all figures are of.
        channels: Of the images.
        classes: Number of logits.
        precision: Of every floating-point number; it changes nothing but its bytes, and the peak
            of the hardware.
        roof: The hardware; None: no times.
    """

    accounting: Accounting = "complete"
    image_size: int | None = None
    batch_size: int = 1
    channels: int = 3
    classes: int = 1000
    precision: Precision = "fp32"
    roof: Roof | None = None


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """What is known of one model.

    Attributes:
        name: The model.
        image_size: Side of the images it was counted at, in pixels.
        batch_size: How many of them.
        graph: Its operators.
        metrics: Its figures.
        tensors: Names and shapes of its parameters and buffers.
    """

    name: ModelName
    image_size: int
    batch_size: int
    graph: Graph
    metrics: Metrics
    tensors: tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A model without figures, and why."""

    name: ModelName
    reason: str


Row = Analysis | Failure


def analyse_all(names: Iterable[ModelName], options: Options) -> list[Row]:
    """Return a row for each model; one that cannot be built or run is a row with the reason."""
    rows: list[Row] = []
    for name in names:
        try:
            rows.append(analyse(name, options))
        except CellError as error:
            rows.append(Failure(name=name, reason=str(error)))
    return rows


def analyse(name: ModelName, options: Options) -> Analysis:
    """Build a model without weights and count one forward pass.

    Raises:
        CellError: It cannot be built, run or traced for such images.
    """
    wanted = Wanted(
        image_size=options.image_size, channels=options.channels, classes=options.classes
    )
    built = build(name, wanted)
    graph, size = count(built.network, built.image_size, options)
    return Analysis(
        name=name,
        image_size=built.image_size,
        batch_size=options.batch_size,
        graph=graph,
        metrics=compute_metrics(graph, size, options.accounting, options.roof),
        tensors=tuple((key, tuple(t.shape)) for key, t in _named_tensors(built.network)),
    )


def count(network: nn.Module, image_size: int, options: Options) -> tuple[Graph, NetworkSize]:
    """Return the graph of a network on the meta device, and what it holds.

    Raises:
        CellError: It cannot be run or traced.
    """
    shape = (options.batch_size, options.channels, image_size, image_size)
    example = torch.empty(shape, device="meta")
    element_bytes = ELEMENT_BYTES[options.precision]
    recording = record(network, example, element_bytes)
    graph = recording.graph
    if options.accounting == "published":
        graph = trace_published(network, example, element_bytes)
    activations = recording.peak_activation_bytes * element_bytes / _BUILT_BYTES
    size = NetworkSize(
        params=count_parameters(network),
        trainable_params=count_trainable_parameters(network),
        model_size_mb=_stored_bytes(network, element_bytes) / 1e6,
        peak_activations_mb=activations / 1e6,
    )
    return graph, size


def _named_tensors(network: nn.Module) -> list[tuple[str, Tensor]]:
    return sorted([*network.named_parameters(), *network.named_buffers()], key=itemgetter(0))


def _stored_bytes(network: nn.Module, element_bytes: int) -> int:
    return sum(
        tensor.numel() * (element_bytes if tensor.is_floating_point() else tensor.element_size())
        for _, tensor in _named_tensors(network)
    )
