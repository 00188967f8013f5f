"""Node networks compiled for one image at a time, by TorchScript and oneDNN Graph.

Of the ways that were tried (docs/trunk.md has the figures) this was the fastest in fp32, and it
takes seconds. TorchScript is deprecated, but nothing else in torch leads to oneDNN Graph.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@torch.inference_mode()
def trace_node(network: nn.Module, example: Tensor) -> nn.Module:
    """Return a node's network compiled for inputs of the example's shape.

    oneDNN Graph fuses each convolution with its activation and keeps the weights in the layout
    that the convolution wants, both once for all. It does so for the present number of threads.

    Args:
        network: In evaluation mode, fp32, on the CPU, batch norm folded.
        example: What it takes, 1×C×H×W.
    """
    with _onednn_graph():
        traced: nn.Module = torch.jit.freeze(torch.jit.trace(network, example))  # type: ignore[no-untyped-call]
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
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        torch.jit.enable_onednn_fusion(before)
