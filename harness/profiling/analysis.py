"""Counting a model: from its name to its figures, or to the reason why there are none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from operator import itemgetter

import torch
from torch import nn

from harness.errors import CellError
from harness.measure.operations import count_parameters, count_trainable_parameters
from harness.networks.deployed import deploy, has_deployed_form
from harness.profiling.building import build
from harness.profiling.hardware import ELEMENT_BYTES
from harness.profiling.layers import Profile
from harness.profiling.metrics import compute_metrics
from harness.profiling.names import ModelName
from harness.profiling.onnx_model import read_onnx
from harness.profiling.published import trace_published
from harness.profiling.recording import Inputs, bytes_per_element, record, saved_for_backward
from harness.profiling.request import ImageSize, Options, sides

_BUILT_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class Analysis(Profile):
    """What is known of one model, for batches of `batch_size` images of `image_size` pixels."""

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
            rows += _analyse(name, options)
        except CellError as error:
            rows.append(Failure(name=name, reason=str(error)))
    return rows


def _analyse(name: ModelName, options: Options) -> list[Analysis]:
    """Count both forms of a re-parameterised network, or that of the options; others as they are.

    The networks are built without weights.
    """
    profiles: dict[str, Profile] = {}
    if name.source == "onnx":
        profiles[""], size = read_onnx(name.name, options)
    else:
        network, size = build(name, options)
        images = torch.empty((options.batch_size, options.channels, *sides(size)), device="meta")
        for form in ("train", "deploy") if has_deployed_form(network) else ("",):
            if options.form in (None, form) or not form:
                counted = deploy(network, inplace=True) if form == "deploy" else network
                profiles[form] = profile_network(counted, images, options)
    return [
        Analysis(
            name=replace(name, form=form),
            image_size=size,
            batch_size=options.batch_size,
            **vars(profile),
        )
        for form, profile in profiles.items()
    ]


def profile_network(network: nn.Module, inputs: Inputs, options: Options) -> Profile:
    """Count one forward pass of a network, in evaluation mode, on the meta device."""
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
    saved = saved_for_backward(network, inputs, element_bytes) if options.training else None
    return Profile(
        graph=graph,
        metrics=metrics,
        tensors=tuple((key, tuple(tensor.shape)) for key, tensor in tensors),
        outputs=recording.outputs,
        parameters={key: each.numel() for key, each in network.named_parameters()},
        saved_bytes=saved,
    )
