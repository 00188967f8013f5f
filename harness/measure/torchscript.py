"""Networks compiled for inputs of one shape on a CPU, by TorchScript and oneDNN Graph.

Of the ways that were tried (docs/measuring.md and docs/trunk.md have the figures) this was the
fastest, and it takes seconds. TorchScript is deprecated, but nothing else in torch leads to oneDNN
Graph.
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

    Batch norm is folded into the convolutions. oneDNN Graph fuses each convolution with its
    activation and keeps the weights in the layout that the convolution wants, both once for all.
    It does so for the present number of threads.

    Args:
        network: In evaluation mode, fp32, on the CPU.
        example: What it takes, N×C×H×W.
        precision: bf16 does what autocast would do; call the result outside of autocast.

    Raises:
        RuntimeError: The network cannot be traced.
    """
    low = precision == "bf16"
    with _onednn_graph(), torch.autocast("cpu", torch.bfloat16, low, cache_enabled=False):
        traced: nn.Module = torch.jit.trace(network, example, check_trace=False)  # type: ignore[no-untyped-call]
    with _onednn_graph():
        traced = torch.jit.freeze(traced)
        # The first call takes note of the shapes, the second one compiles for them.
        for _ in range(2):
            traced(example)
    return traced


@contextmanager
def _onednn_graph() -> Iterator[None]:
    """Let TorchScript hand what it can to oneDNN Graph; put the setting back after."""
    before = torch.jit.onednn_fusion_enabled()  # type: ignore[no-untyped-call]
    torch.jit.enable_onednn_fusion(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.jit.enable_onednn_fusion(before)
