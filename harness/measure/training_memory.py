"""Peak memory of a training step, with gradients and the optimizer's state."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness.measure.memory import LiveStorages, measure_cuda_peak_mb
from harness.measure.networks import copy_network, meta_copy, on_meta_device

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]

# The optimizer creates its state in the first step; only the second has it from the start.
_STEPS = 2


def measure_training_peak_mb(
    network: nn.Module, images: Tensor, *, make_optimizer: MakeOptimizer
) -> float:
    """Return the most memory in MB (10^6 bytes) that a step of `training.loop` holds at one moment.

    Results kept for the backward pass, gradients and the optimizer's state count; weights, images
    and labels do not. The step is in float32: forward, clearing the old gradients, backward from
    the cross entropy, optimizer. It is measured as in `harness.measure.memory.measure_peak_mb`, on
    a copy in training mode: the network is not changed. Of images N×C×H×W on the CPU, only shape
    and type matter.

    Raises:
        CellError: The network cannot be trained on the meta device.
    """
    if images.is_cuda:
        return _cuda_peak_mb(network, images, make_optimizer)
    with on_meta_device("training memory cannot be followed"):
        copied, batch = meta_copy(network), images.to("meta")
        labels = _any_labels(batch)
        mode = LiveStorages([*copied.parameters(), *copied.buffers(), batch, labels])
        with mode:
            _train(copied, batch, labels, make_optimizer)
    return mode.peak_bytes / 1e6


def _cuda_peak_mb(network: nn.Module, images: Tensor, make_optimizer: MakeOptimizer) -> float:
    with torch.random.fork_rng([images.device]):
        copied, images = copy_network(network), images.clone()
        labels = _any_labels(images)
        # The first steps also allocate what the libraries keep.
        _train(copied, images, labels, make_optimizer)
        copied.zero_grad()
        gc.collect()
        return measure_cuda_peak_mb(
            lambda: _train(copied, images, labels, make_optimizer), images.device
        )


def _any_labels(images: Tensor) -> Tensor:
    return torch.zeros(len(images), dtype=torch.int64, device=images.device)


def _train(
    network: nn.Module, images: Tensor, labels: Tensor, make_optimizer: MakeOptimizer
) -> None:
    network.train()
    optimizer = make_optimizer([p for p in network.parameters() if p.requires_grad])
    with torch.enable_grad():
        for _ in range(_STEPS):
            loss = cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            del loss  # it would live on into the next forward pass
