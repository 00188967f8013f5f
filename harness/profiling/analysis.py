"""Counting a model: from its name to its figures, or to the reason why there are none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from operator import itemgetter
from typing import Any

import torch
from torch import nn

from harness.errors import CellError
from harness.measure.operations import count_parameters, count_trainable_parameters
from harness.networks.deployed import deploy, has_deployed_form
from harness.profiling.building import build
from harness.profiling.graph import Graph
from harness.profiling.hardware import ELEMENT_BYTES
from harness.profiling.layers import Layer, group_layers
from harness.profiling.metrics import Metrics, compute_metrics
from harness.profiling.names import ModelName
from harness.profiling.onnx_model import read_onnx
from harness.profiling.published import trace_published
from harness.profiling.recording import Inputs, bytes_per_element, record
from harness.profiling.request import ImageSize, Options, sides
from harness.profiling.roofline import Roof
from harness.profiling.training import saved_for_backward

_BUILT_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What is known of a network for some inputs.

    Attributes:
        graph: The operators of a forward pass.
        metrics: Its figures.
        tensors: Names and shapes of its parameters and buffers, by name.
        outputs: The shapes of the tensors that it returns.
        parameters: The number of elements of each parameter, by its first name.
        saved_bytes: The bytes that autograd keeps for the backward pass, by module; None where
            that was not asked for, or the network cannot be trained on such inputs.
    """

    graph: Graph
    metrics: Metrics
    tensors: tuple[tuple[str, tuple[int, ...]], ...]
    outputs: tuple[tuple[int, ...], ...] = ()
    parameters: Mapping[str, int] = field(default_factory=dict)
    saved_bytes: Mapping[str, int] | None = None

    def layers(self, depth: int | None = None, roof: Roof | None = None) -> list[Layer]:
        """Return the layers, by the first `depth` parts of modules' names."""
        return group_layers(self.graph, roof, self.parameters, self.saved_bytes, depth)


@dataclass(frozen=True, kw_only=True)
class Analysis(Profile):
    """What is known of one model, for batches of `batch_size` images of `image_size` pixels.

    Attributes:
        image_size: Of their side, or height and width.
    """

    name: ModelName
    image_size: ImageSize
    batch_size: int


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A model without figures, and why."""

    name: ModelName
    reason: str


Row = Analysis | Failure


def analyse_all(names: Iterable[ModelName], options: Options) -> list[Row]:
    """Return a row for each form of each model; what cannot be built or run is the reason why."""
    rows: list[Row] = []
    for name in names:
        try:
            rows += analyse_forms(name, options)
        except CellError as error:
            rows.append(Failure(name=name, reason=str(error)))
    return rows


def analyse(name: ModelName, options: Options) -> Analysis:
    """Build a model without weights and count one forward pass, in the form that is trained.

    Raises:
        CellError: It cannot be built, run or traced for such images.
    """
    (row,) = analyse_forms(name, replace(options, form="train"))
    return row


def analyse_forms(name: ModelName, options: Options) -> list[Analysis]:
    """Return both forms of a re-parameterised network, or that of the options; see `analyse`."""
    if name.source == "onnx":
        return [_count_onnx(name, options)]
    network, size = build(name, options)
    if not has_deployed_form(network):
        return [_count(name, network, size, options)]
    rows = []
    if options.form != "deploy":
        rows.append(_count(replace(name, form="train"), network, size, options))
    if options.form != "train":
        deployed = deploy(network, inplace=True)
        rows.append(_count(replace(name, form="deploy"), deployed, size, options))
    return rows


def _count(name: ModelName, network: nn.Module, size: ImageSize, options: Options) -> Analysis:
    shape = (options.batch_size, options.channels, *sides(size))
    profile = profile_network(network, torch.empty(shape, device="meta"), options)
    return Analysis(name=name, image_size=size, batch_size=options.batch_size, **_fields(profile))


def _count_onnx(name: ModelName, options: Options) -> Analysis:
    if options.accounting == "published":
        raise CellError("an ONNX file has no modules: the complete accounting only")
    element_bytes = ELEMENT_BYTES[options.precision]
    model = read_onnx(name.name, options, element_bytes)
    metrics = compute_metrics(
        model.graph,
        options.accounting,
        options.roof,
        params=model.params,
        trainable_params=model.params,
        model_size_mb=model.model_size_bytes / 1e6,
        peak_activations_mb=model.peak_activation_bytes / 1e6,
    )
    return Analysis(
        name=name,
        image_size=model.image_size,
        batch_size=options.batch_size,
        graph=model.graph,
        metrics=metrics,
        tensors=model.tensors,
        outputs=model.outputs,
        parameters=model.parameters,
    )


def _fields(profile: Profile) -> dict[str, Any]:
    return {each.name: getattr(profile, each.name) for each in fields(Profile)}


def profile_network(network: nn.Module, inputs: Inputs, options: Options) -> Profile:
    """Count one forward pass of a network in evaluation mode on the meta device.

    Raises:
        CellError: It cannot be run or traced for such inputs.
    """
    element_bytes = ELEMENT_BYTES[options.precision]
    recording = record(network, inputs, element_bytes)
    graph = recording.graph
    if options.accounting == "published":
        graph = trace_published(network, inputs, element_bytes)
    tensors = sorted([*network.named_parameters(), *network.named_buffers()], key=itemgetter(0))
    stored_bytes = sum(
        tensor.numel() * bytes_per_element(tensor, element_bytes) for _, tensor in tensors
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
    return Profile(
        graph=graph,
        metrics=metrics,
        tensors=tuple((key, tuple(tensor.shape)) for key, tensor in tensors),
        outputs=recording.outputs,
        parameters={key: each.numel() for key, each in network.named_parameters()},
        saved_bytes=saved_for_backward(network, inputs, element_bytes)
        if options.training
        else None,
    )
