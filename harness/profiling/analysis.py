"""Counting a model: from its name to its figures, or to the reason why there are none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from operator import itemgetter

import torch

from harness.errors import CellError
from harness.measure.operations import count_parameters, count_trainable_parameters
from harness.profiling.building import build
from harness.profiling.graph import Graph
from harness.profiling.hardware import ELEMENT_BYTES
from harness.profiling.metrics import Metrics, compute_metrics
from harness.profiling.names import ModelName
from harness.profiling.published import trace_published
from harness.profiling.recording import record
from harness.profiling.request import Options

_BUILT_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """What is known of one model, for batches of `batch_size` images of `image_size` pixels a side.

    Attributes:
        tensors: Names and shapes of its parameters and buffers, by name.
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
    network, image_size = build(name, options)
    shape = (options.batch_size, options.channels, image_size, image_size)
    example, element_bytes = torch.empty(shape, device="meta"), ELEMENT_BYTES[options.precision]
    recording = record(network, example, element_bytes)
    graph = recording.graph
    if options.accounting == "published":
        graph = trace_published(network, example, element_bytes)
    tensors = sorted([*network.named_parameters(), *network.named_buffers()], key=itemgetter(0))
    stored_bytes = sum(
        tensor.numel() * (element_bytes if tensor.is_floating_point() else tensor.element_size())
        for _, tensor in tensors
    )
    metrics = compute_metrics(
        graph,
        options.accounting,
        options.roof,
        params=count_parameters(network),
        trainable_params=count_trainable_parameters(network),
        model_size_mb=stored_bytes / 1e6,
        peak_activations_mb=recording.peak_activation_bytes * element_bytes / _BUILT_BYTES / 1e6,
    )
    return Analysis(
        name=name,
        image_size=image_size,
        batch_size=options.batch_size,
        graph=graph,
        metrics=metrics,
        tensors=tuple((key, tuple(tensor.shape)) for key, tensor in tensors),
    )
