"""Networks made ready to be measured: a copy without data, or the network set to inference."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from harness.errors import CellError
from harness.util.error_text import describe_error


def meta_copy(network: nn.Module) -> nn.Module:
    """Return a copy on the meta device, in evaluation mode, without copying a single weight.

    `deepcopy` is given the replacements of all parameters and buffers beforehand, so that no
    memory for a second network is needed. Tensors that the network shares stay shared.
    """
    replaced: dict[int, object] = {}
    for parameter in network.parameters():
        empty = torch.empty_like(parameter, device="meta")
        replaced[id(parameter)] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
    for buffer in network.buffers():
        replaced[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(network, replaced).eval()


@contextmanager
def on_meta_device(failure: str) -> Iterator[None]:
    """Say what went wrong in a block that runs a copy of a network on the meta device.

    Args:
        failure: Start of the message, e.g. "operations cannot be counted".

    Raises:
        CellError: Anything went wrong, e.g. because the network's path depends on values.
    """
    try:
        yield
    except Exception as error:
        raise CellError(
            f"{failure} on the meta device: {describe_error(error)} "
            "(constant tensors must be buffers, and no path may depend on values)"
        ) from error


@contextmanager
def inference(*networks: object) -> Iterator[None]:
    """Put modules in evaluation mode under `torch.inference_mode`; restore every mode after.

    Callables that are not modules are left alone.
    """
    modules = [network for network in networks if isinstance(network, nn.Module)]
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        for module in modules:
            module.eval()
        with torch.inference_mode():
            yield
    finally:
        for part, training in modes:
            part.training = training


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Turn `requires_grad` off for all parameters; restore it after."""
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    try:
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
