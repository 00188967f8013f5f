"""Memory: weights by their bytes, and the peak of a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness.errors import CellError
from harness.measure.networks import inference, meta_copy
from harness.measure.process_memory import measure_process_peak_mb
from harness.util.error_text import describe_error

LIVE_STORAGES = "largest sum of live tensor storages, on the meta device"
LIVE_STORAGES_HERE = "largest sum of live tensor storages, in a real pass"
CUDA_ALLOCATOR = "torch.cuda.max_memory_allocated"


@dataclass(frozen=True, kw_only=True)
class PeakMemory:
    """The memory of one forward pass; MB are 10^6 bytes.

    Attributes:
        peak_memory_mb: The most that the forward pass held at one moment: intermediate results
            and the output, without the weights and without the input.
        weights_mb: Parameters and buffers.
        peak_process_mb: The cross-check: by how much the resident memory of a process rose during
            the pass, so with the scratch memory of the kernels.
        peak_process_reason: Why `peak_process_mb` is None.
        method: How `peak_memory_mb` was obtained.
    """

    peak_memory_mb: float
    weights_mb: float
    peak_process_mb: float | None
    peak_process_reason: str | None
    method: str


def measure_weights_mb(network: nn.Module) -> float:
    """Return the MB (10^6 bytes) of parameters and buffers; shared tensors count once.

    Views of one storage count together, and never for more than the storage holds.
    """
    used: dict[torch.UntypedStorage, int] = {}
    for tensor in [*network.parameters(), *network.buffers()]:
        storage = tensor.untyped_storage()
        used[storage] = used.get(storage, 0) + tensor.nbytes
    return sum(min(count, storage.nbytes()) for storage, count in used.items()) / 1e6


def measure_state_mb(network: nn.Module) -> float:
    """Return the MB (10^6 bytes) of a state dict, for layers that hide their weights elsewhere."""
    state: dict[str, Tensor] = network.state_dict()
    return sum(tensor.nbytes for tensor in state.values()) / 1e6


def measure_peak_memory(network: nn.Module, example: Tensor, *, on_meta: bool = True) -> PeakMemory:
    """Measure the peak memory of a forward pass over `example` (N×C×H×W).

    For an example on the CPU the results of all operators are followed on the meta device:
    exact and repeatable, but blind to what a kernel allocates inside, which the cross-check in a
    child process sees (Linux only; it takes seconds, most of them for starting). For one on a GPU,
    CUDA's allocator is asked, which sees both.

    Args:
        network: What passes.
        example: What it takes.
        on_meta: False for a network whose kernels are for the CPU alone: the results of all
            operators are followed in a real pass then, and there is no cross-check.

    Raises:
        CellError: The network cannot run on the meta device, e.g. as its path depends on values.
    """
    weights_mb = measure_weights_mb(network)
    process_mb: float | None
    reason: str | None
    if example.is_cuda:
        peak_mb, method = _cuda_peak_bytes(network, example) / 1e6, CUDA_ALLOCATOR
        process_mb, reason = None, "CUDA's allocator is asked instead"
    elif on_meta:
        peak_mb, method = measure_live_peak_mb(network, example), LIVE_STORAGES
        process_mb, reason = measure_process_peak_mb(meta_copy(network), example.to("meta"))
    else:
        peak_mb = measure_live_peak_mb(network, example, on_meta=False)
        method = LIVE_STORAGES_HERE
        process_mb, reason = None, "its kernels cannot be handed to another process"
    return PeakMemory(
        peak_memory_mb=peak_mb,
        weights_mb=weights_mb,
        peak_process_mb=process_mb,
        peak_process_reason=reason,
        method=method,
    )


def measure_live_peak_mb(network: nn.Module, example: Tensor, *, on_meta: bool = True) -> float:
    """Return `PeakMemory.peak_memory_mb` alone, for an example on the CPU (N×C×H×W).

    Raises:
        CellError: As `measure_peak_memory`.
    """
    follow = _live_peak_bytes if on_meta else _followed_peak_bytes
    return follow(network, example) / 1e6


class LiveStorages(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the storages that operators return until nothing refers to them any more."""

    def __init__(self, outside: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak_bytes = 0
        self._outside = {tensor.untyped_storage() for tensor in outside}
        self._live: WeakSet[torch.UntypedStorage] = WeakSet()

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        result = func(*args, **(kwargs or {}))
        returned = {t.untyped_storage() for t in tree_leaves(result) if isinstance(t, Tensor)}
        self._live.update(returned - self._outside)
        self.peak_bytes = max(self.peak_bytes, sum(s.nbytes() for s in self._live))
        return result


def _live_peak_bytes(network: nn.Module, example: Tensor) -> int:
    """Return the largest sum of live storages in a forward pass over `example`, on the meta device.

    Without weights and input, and without the cross-check of `measure_peak_memory`.

    Raises:
        CellError: The network cannot run on the meta device.
    """
    try:
        return _followed_peak_bytes(meta_copy(network), example.to("meta"))
    except Exception as error:
        raise CellError(
            f"peak memory cannot be followed on the meta device: {describe_error(error)} "
            "(constant tensors must be buffers, and no path may depend on values)"
        ) from error


def _followed_peak_bytes(network: nn.Module, example: Tensor) -> int:
    mode = LiveStorages([*network.parameters(), *network.buffers(), example])
    with inference(network), mode:
        network(example)
    return mode.peak_bytes


def _cuda_peak_bytes(network: nn.Module, example: Tensor) -> int:
    device = example.device
    with inference(network):
        network(example)  # the first call also allocates what the libraries keep
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        network(example)
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
