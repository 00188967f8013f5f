"""Memory of training: the peak of a step, with gradients and the optimizer's state."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness.errors import CellError
from harness.measure.memory import CUDA_ALLOCATOR, LIVE_STORAGES, LiveStorages
from harness.measure.networks import meta_copy
from harness.util.error_text import describe_error

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]

# The optimizer makes its state in the first step; the second has it from the start.
_STEPS = 2


@dataclass(frozen=True, kw_only=True)
class TrainingMemory:
    """The memory of one training step in float32; MB are 10^6 bytes.

    Attributes:
        peak_training_memory_mb: The most that the step held at one moment: results kept for the
            backward pass, gradients and the optimizer's state, without the weights, the images
            and the labels.
        batch_size: Images in the step.
        method: How the peak was obtained.
    """

    peak_training_memory_mb: float
    batch_size: int
    method: str


def measure_training_peak(
    network: nn.Module, images: Tensor, *, make_optimizer: MakeOptimizer
) -> TrainingMemory:
    """Measure the peak memory of a step of `training.loop`; the network is not changed.

    The step is forward, clearing the old gradients, backward from the cross entropy, optimizer. For
    images on the CPU the results of all operators are followed on the meta device: exact and
    repeatable, but blind to what a kernel allocates inside. For images on a GPU, CUDA's allocator
    is asked during a real step of a copy.

    Args:
        network: Returns N×K logits; all of it is put in training mode.
        images: A batch N×C×H×W; on the CPU only its shape and type matter.
        make_optimizer: Makes the optimizer of the parameters that are trained.

    Raises:
        CellError: The network cannot be trained on the meta device, e.g. as its path depends on
            values.
    """
    if images.is_cuda:
        peak_bytes, method = _cuda_peak_bytes(network, images, make_optimizer), CUDA_ALLOCATOR
    else:
        peak_bytes, method = _live_peak_bytes(network, images, make_optimizer), LIVE_STORAGES
    return TrainingMemory(
        peak_training_memory_mb=peak_bytes / 1e6, batch_size=len(images), method=method
    )


def _live_peak_bytes(network: nn.Module, images: Tensor, make_optimizer: MakeOptimizer) -> int:
    try:
        copied, batch = meta_copy(network), images.to("meta")
        labels = _any_labels(batch)
        mode = LiveStorages([*copied.parameters(), *copied.buffers(), batch, labels])
        with mode:
            _train(copied, batch, labels, make_optimizer)
    except Exception as error:
        raise CellError(
            f"training memory cannot be followed on the meta device: {describe_error(error)} "
            "(constant tensors must be buffers, and no path may depend on values)"
        ) from error
    return mode.peak_bytes


def _cuda_peak_bytes(network: nn.Module, images: Tensor, make_optimizer: MakeOptimizer) -> int:
    device = images.device
    with torch.random.fork_rng([device]):
        copied, labels = copy.deepcopy(network), _any_labels(images)
        # The first steps also allocate what the libraries keep.
        _train(copied, images, labels, make_optimizer)
        copied.zero_grad()
        gc.collect()
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        _train(copied, images, labels, make_optimizer)
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before


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
            del loss  # it would last into the next forward pass
