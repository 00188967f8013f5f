"""What autograd keeps of each module's results until the backward pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from harness.profiling.recording import Inputs, bytes_per_element, call, innermost_module


def saved_for_backward(
    network: nn.Module, inputs: Inputs, element_bytes: int
) -> Mapping[str, int] | None:
    """Return the bytes that a forward pass in training mode keeps, by the module that keeps them.

    Parameters and buffers are there anyway and do not count; a tensor that several operators keep
    counts once, for the first. The network and its inputs are on the meta device.

    Returns:
        None where the network cannot be trained on such inputs, as batch norm cannot on one number
        a channel.
    """
    seen = {tensor.untyped_storage() for tensor in (*network.parameters(), *network.buffers())}
    kept: Counter[str] = Counter()

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage not in seen:
            seen.add(storage)
            elements = storage.nbytes() // tensor.element_size()
            kept[running[-1]] += elements * bytes_per_element(tensor, element_bytes)
        return tensor

    network.train()
    try:
        with innermost_module(network) as running, saved_tensors_hooks(pack, lambda each: each):
            call(network, inputs)
    except Exception:
        return None
    finally:
        network.eval()
    return dict(kept)
