"""Compilation of networks for inputs of one shape on a CPU, by TorchScript and oneDNN Graph.

This was the fastest of several ways (figures: docs/measuring.md and docs/trunk.md), and compiling
takes seconds. TorchScript is deprecated, but nothing else in torch gives access to oneDNN Graph.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn


@torch.inference_mode()
def trace(
    network: nn.Module, example: Tensor, precision: Literal["fp32", "bf16"] = "fp32"
) -> nn.Module:
    """Return a network compiled for inputs of the example's shape and layout.

    Batch norm is folded into the convolutions. For torch's current number of threads, oneDNN Graph
    fuses each convolution with its activation and stores the weights in the convolution's layout.
    The network is in evaluation mode, fp32, on the CPU. With bf16 the result does what autocast
    would do; call it outside of autocast.

    Raises:
        RuntimeError: The network cannot be traced.
    """
    low = precision == "bf16"
    with _onednn_graph(), torch.autocast("cpu", torch.bfloat16, low, cache_enabled=False):
        traced: nn.Module = torch.jit.trace(network, example.clone(), check_trace=False)  # type: ignore[no-untyped-call]
    with _onednn_graph():
        traced = torch.jit.freeze(traced)
        # The first call records the shapes, the second one compiles for them.
        for _ in range(2):
            traced(example.clone())
    return traced


@contextmanager
def _onednn_graph() -> Iterator[None]:
    """Let TorchScript use oneDNN Graph; restore the setting after."""
    before = torch.jit.onednn_fusion_enabled()  # type: ignore[no-untyped-call]
    torch.jit.enable_onednn_fusion(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.jit.enable_onednn_fusion(before)
