"""Memory of a network: the bytes of its weights, of its file, and the peak of a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness.measure.networks import inference, meta_copy, on_meta_device


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
    """Return the MB (10^6 bytes) of a state dict, for layers whose weights are not parameters."""
    state: dict[str, Tensor] = network.state_dict()
    return sum(tensor.nbytes for tensor in state.values()) / 1e6


class _ByteCounter:
    """A file that keeps nothing but the number of bytes."""

    count = 0

    def write(self, data: bytes | memoryview) -> int:
        size = memoryview(data).nbytes
        self.count += size
        return size

    def flush(self) -> None:
        pass


def measure_file_mb(network: nn.Module) -> float:
    """Return the MB (10^6 bytes) of the file that `torch.save` makes of a state dict.

    A real file repeats its own name for each tensor, so each letter that the name is longer than
    "archive" adds a byte per tensor.
    """
    counter = _ByteCounter()
    torch.save(network.state_dict(), counter)  # type: ignore[arg-type]  # write and flush will do
    return counter.count / 1e6


def measure_peak_mb(network: nn.Module, example: Tensor, *, on_meta: bool = True) -> float:
    """Return the most memory that a forward pass holds at one moment, in MB (10^6 bytes).

    Intermediate results and the output count, the weights and the input do not. For an example on
    the CPU this is the largest sum of live tensor storages, followed operator by operator on the
    meta device: exact and repeatable, but blind to what a kernel allocates inside. For one on a
    GPU, it is the peak of CUDA's allocator, which includes that.

    Without `on_meta`, for a network whose kernels exist on the CPU only, a real pass is followed.

    Raises:
        CellError: The network cannot run on the meta device.
    """
    if example.is_cuda:
        with inference(network):
            network(example.clone())  # the first call also allocates what the libraries keep
            image = example.clone()
            return measure_cuda_peak_mb(lambda: network(image), example.device)
    if on_meta:
        with on_meta_device("peak memory cannot be followed"):
            return _followed_peak_mb(meta_copy(network), example.to("meta"))
    with inference(network):
        network(example.clone())  # int8 weights are laid out anew for another shape of images
    return _followed_peak_mb(network, example)


def measure_cuda_peak_mb(run: Callable[[], object], device: torch.device) -> float:
    """Return by how many MB (10^6 bytes) the memory of CUDA's allocator rises while `run` runs."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 1e6


class LiveStorages(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the storages that operators return until nothing refers to them any more.

    Attributes:
        live: Those that something refers to.
        peak_bytes: The largest sum of their sizes so far.
    """

    def __init__(self, outside: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak_bytes = 0
        self._outside = {tensor.untyped_storage() for tensor in outside}
        self.live: WeakSet[torch.UntypedStorage] = WeakSet()

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        result = func(*args, **(kwargs or {}))
        returned = {t.untyped_storage() for t in tree_leaves(result) if isinstance(t, Tensor)}
        self.live.update(returned - self._outside)
        self.peak_bytes = max(self.peak_bytes, sum(s.nbytes() for s in self.live))
        return result


def _followed_peak_mb(network: nn.Module, example: Tensor) -> float:
    image = example.clone()
    mode = LiveStorages([*network.parameters(), *network.buffers(), image])
    with inference(network), mode:
        network(image)
    return mode.peak_bytes / 1e6
