"""How a network is brought to be measured: a copy without data, or itself set to inference."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


def meta_copy(network: nn.Module) -> nn.Module:
    """Return a copy on the meta device, in evaluation mode, without copying a single weight.

    Handing `deepcopy` the replacements of all parameters and buffers beforehand keeps the memory
    of a second network free; tensors that the network shares stay shared.
    """
    replaced: dict[int, object] = {}
    for parameter in network.parameters():
        empty = torch.empty_like(parameter, device="meta")
        replaced[id(parameter)] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
    for buffer in network.buffers():
        replaced[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(network, replaced).eval()


@contextmanager
def inference(*networks: object) -> Iterator[None]:
    """Put modules in evaluation mode under `torch.inference_mode`; put every mode back after.

    Callables that are no modules are left as they are.
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
    """Let no parameter ask for a gradient; put each back after."""
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    try:
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
