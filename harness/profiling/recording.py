"""The complete accounting: every ATen operator of an inference pass, recorded on the meta device.

Under `torch.inference_mode` a dispatch mode sees, operator for operator, the graph that
`torch.export` makes (tests/harness/profiling/test_recording.py compares them), in far less time.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

from harness.errors import CellError
from harness.measure.networks import inference
from harness.measure.operations import counting_flops
from harness.measure.products import ProductCounter
from harness.profiling.dispatch import (
    LAYERS,
    LiveResults,
    dataflow,
    find_tensors,
    is_composite,
    named_arguments,
)
from harness.profiling.formulas import (
    FUSED_ATTENTION,
    attention_macs,
    base_name,
    extra_flops,
    has_formula,
)
from harness.profiling.graph import Graph, Operator
from harness.util.error_text import describe_error

# These operators do not read what they write over.
_OVERWRITING = {"fill", "zero", "copy"}


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A forward pass on the meta device.

    Attributes:
        graph: Its operators, without views and dropout in inference, which move nothing.
        peak_activation_bytes: The largest sum of live intermediate results and outputs, at the
            tensors' own size.
        outputs: The shapes of the tensors that the network returns.
    """

    graph: Graph
    peak_activation_bytes: int
    outputs: tuple[tuple[int, ...], ...]


Inputs = Tensor | tuple[Any, ...] | Mapping[str, Any]
"""What a network is called with: one tensor, its positional arguments, or its arguments by name."""


def call(network: nn.Module, inputs: Inputs) -> object:
    """Call a network."""
    if isinstance(inputs, Mapping):
        return network(**inputs)
    return network(*inputs) if isinstance(inputs, tuple) else network(inputs)


def record(network: nn.Module, inputs: Inputs, element_bytes: int = 4) -> Recording:
    """Record a forward pass without computing anything.

    The network and its inputs, N×C×H×W images as a rule, are on the meta device. A floating-point
    number counts `element_bytes`, a complex one twice as many, and other types as they are.
    CellError: the network cannot run on the meta device, e.g. as its path depends on values.
    """
    tensors = [*network.parameters(), *network.buffers()]
    try:
        with inference(network), counting_flops(network, fused_attention=True) as counter:
            recording, kept = _record(network, inputs, tensors, counter, element_bytes)
            if kept:
                # Tables that a network makes in its first pass are there in all later ones.
                recording, _ = _record(network, inputs, [*tensors, *kept], counter, element_bytes)
    except Exception as error:
        raise CellError(f"cannot run on the meta device: {describe_error(error)}") from error
    return recording


def _record(
    network: nn.Module,
    inputs: Inputs,
    weights: Sequence[Tensor],
    counter: ProductCounter,
    element_bytes: int,
) -> tuple[Recording, list[Tensor]]:
    """Return what one pass does, and the tensors that outlive it without being returned."""
    live = LiveResults([*weights, *find_tensors(inputs)])
    with (
        innermost_module(network) as running,
        live,
        _Recorder(weights, running, counter, element_bytes) as recorder,
    ):
        returned = call(network, inputs)
    results = find_tensors(returned)
    recording = Recording(
        graph=recorder.graph(results),
        peak_activation_bytes=live.peak_bytes,
        outputs=tuple(tuple(tensor.shape) for tensor in results),
    )
    kept = live.live - {tensor.untyped_storage() for tensor in results}
    return recording, [torch.empty(0, device=each.device).set_(each) for each in kept]


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Makes an `Operator` of each ATen operator that writes something.

    The dataflow follows storages: an operator waits for the last one that wrote to a storage that
    it reads, so operators in place, and writes to parts of a tensor, come after one another.
    `extras` are the FLOPs of each besides products; None: it has no formula.
    """

    def __init__(
        self,
        weights: Iterable[Tensor],
        running: list[str],
        counter: ProductCounter,
        element_bytes: int,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.extras: list[int | None] = []
        self._operators: list[Operator] = []
        self._unknown: dict[str, None] = {}
        self._weights = {tensor.untyped_storage() for tensor in weights}
        self._writer: WeakKeyDictionary[torch.UntypedStorage, int] = WeakKeyDictionary()
        self._running = running
        self._counter = counter
        self._element_bytes = element_bytes

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        arguments = named_arguments(func, args, kwargs or {})
        if base_name(func).endswith("dropout") and not arguments.get("train", True):
            return next(iter(arguments.values()))  # which some versions of torch copy
        before, inside = self._counter.get_total_flops(), None
        if is_composite(func) and not has_formula(func):
            with _Recorder((), self._running, self._counter, self._element_bytes) as inside:
                result = func.decompose(*args, **(kwargs or {}))
        elif func is torch.ops.aten.batch_norm.default and not arguments["training"]:
            # What its meta kernel makes, in Python, taking up to half of the time of a network.
            result = torch.empty_like(arguments["input"])
        else:
            result = func(*args, **(kwargs or {}))
        macs = attention_macs(func, arguments)
        if macs is None:
            macs = (self._counter.get_total_flops() - before) // 2
        read, written = dataflow(func, arguments, result)
        if written:
            if inside:
                extra = None if None in inside.extras else sum(each or 0 for each in inside.extras)
            else:
                extra = extra_flops(func, arguments, read, written)
            self.extras.append(extra)
            if extra is None and not macs:
                self._unknown[base_name(func)] = None
            self._add(base_name(func), read, written, macs, extra or 0)
        return result

    def graph(self, returned: Iterable[Tensor]) -> Graph:
        """Return what was recorded of a pass that returned these tensors."""
        return Graph(
            operators=tuple(self._operators),
            results=frozenset(self._writers(returned)),
            unknown=tuple(self._unknown),
            uncounted=tuple(self._counter.uncounted),
        )

    def _add(
        self, name: str, read: list[Tensor], written: list[Tensor], macs: int, extra: int
    ) -> None:
        predecessors = self._writers(read)
        if name in _OVERWRITING:
            read = read[1:]
        channels = written[0].shape[-1 if name == "linear" else 1] if name in LAYERS else None
        is_product = macs and name != FUSED_ATTENTION
        weights = [tensor for tensor in read if tensor.untyped_storage() in self._weights]
        inputs = [tensor for tensor in read if tensor.untyped_storage() not in self._weights]
        operator = Operator(
            name=name,
            module=self._running[-1],
            macs=macs,
            flops=2 * macs + extra,
            input_bytes=self._bytes(inputs),
            output_bytes=self._bytes(written),
            weight_bytes=self._bytes(weights),
            channels=channels,
            predecessors=tuple(sorted(predecessors)),
            output_shapes=tuple(tuple(tensor.shape) for tensor in written),
            activations=sum(tensor.numel() for tensor in written) if is_product else 0,
        )
        for tensor in written:
            self._writer[tensor.untyped_storage()] = len(self._operators)
        self._operators.append(operator)

    def _writers(self, tensors: Iterable[Tensor]) -> set[int]:
        found = (self._writer.get(tensor.untyped_storage()) for tensor in tensors)
        return {position for position in found if position is not None}

    def _bytes(self, tensors: Iterable[Tensor]) -> int:
        """Return the bytes of tensors; elements that an expanded one repeats count once."""
        total = 0
        for tensor in tensors:
            pairs = zip(tensor.shape, tensor.stride(), strict=True)
            elements = math.prod(size for size, stride in pairs if stride or not size)
            total += elements * bytes_per_element(tensor, self._element_bytes)
        return total


def bytes_per_element(tensor: Tensor, element_bytes: int) -> int:
    """Return the bytes of an element where a floating-point number has `element_bytes`."""
    if tensor.is_complex():
        return 2 * element_bytes
    return element_bytes if tensor.is_floating_point() else tensor.element_size()


@contextmanager
def innermost_module(network: nn.Module) -> Iterator[list[str]]:
    """Yield the names of the modules running, innermost last; the network itself is ""."""
    names = {module: name for name, module in network.named_modules()}
    running = [""]

    def enter(module: nn.Module, _: object) -> None:
        running.append(names.get(module, running[-1]))

    def leave(*_: object) -> None:
        running.pop()

    with register_module_forward_pre_hook(enter), register_module_forward_hook(leave):
        yield running


def saved_for_backward(
    network: nn.Module, inputs: Inputs, element_bytes: int
) -> Mapping[str, int] | None:
    """Return the bytes that a forward pass in training mode keeps, by the module that keeps them.

    Parameters and buffers are there anyway and do not count; a tensor that several operators keep
    counts once, for the first. None: the network cannot be trained on such inputs, as batch norm
    cannot on one number a channel.
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
