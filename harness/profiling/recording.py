"""The complete accounting: every ATen operator of an inference pass, recorded on the meta device.

Under `torch.inference_mode` a dispatch mode sees, operator for operator, the graph that
`torch.export` makes (tests/harness/profiling/test_recording.py compares them), in far less time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from harness.errors import CellError
from harness.measure.memory import LiveStorages
from harness.measure.networks import inference
from harness.measure.operations import counting_flops
from harness.profiling.formulas import (
    FUSED_ATTENTION,
    Arguments,
    attention_macs,
    base_name,
    extra_flops,
    has_formula,
)
from harness.profiling.graph import Graph, Operator
from harness.util.error_text import describe_error

# These operators do not read what they write over.
_OVERWRITING = {"fill", "zero", "copy"}
_LAYERS = {"conv1d", "conv2d", "conv3d", "convolution", "linear"}
# In a product of two complex numbers.
REAL_PRODUCTS = 4


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
    outputs: tuple[tuple[int, ...], ...] = ()


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

    Raises:
        CellError: The network cannot run on the meta device, e.g. because its path depends on
            values.
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
    counter: FlopCounterMode,
    element_bytes: int,
) -> tuple[Recording, list[Tensor]]:
    """Return what one pass does, and the tensors that outlive it without being returned."""
    live = _LiveResults([*weights, *_tensors(inputs)])
    with (
        innermost_module(network) as running,
        live,
        _Recorder(weights, running, counter, element_bytes) as recorder,
    ):
        returned = call(network, inputs)
        recorder.note_results(returned)
    recording = Recording(
        graph=recorder.graph(),
        peak_activation_bytes=live.peak_bytes,
        outputs=tuple(tuple(tensor.shape) for tensor in _tensors(returned)),
    )
    results = {tensor.untyped_storage() for tensor in _tensors(returned)}
    kept = [
        torch.empty(0, device=each.device).set_(each) for each in live.live if each not in results
    ]
    return recording, kept


class _LiveResults(LiveStorages):  # type: ignore[no-untyped-call]
    """Follows also what composite operators make inside: copies of operands, indices of maxima.

    Fused attention stays one operator where there are kernels for it: for N×H×L×C, with as many
    channels in values as in queries.
    """

    def __torch_dispatch__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        if not _is_composite(func) or _is_whole(func, args):
            return super().__torch_dispatch__(func, types, args, kwargs)
        with self:
            return func.decompose(*args, **(kwargs or {}))


@cache
def _is_composite(func: Any) -> bool:
    """Return whether an operator is made of others."""
    return bool(
        torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")
    )


def _is_whole(func: Any, args: tuple[Any, ...]) -> bool:
    """Return whether an operator makes nothing inside but its output.

    Norms do not in evaluation, though on the meta device they seem to.
    """
    name = base_name(func)
    if name != FUSED_ATTENTION:
        return name.endswith("norm") or name in _LAYERS - {"linear"}
    query, _, value = args[:3]
    return bool(query.dim() == 4 and query.shape[-1] == value.shape[-1])


class _Inside(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sums the FLOPs, besides products, of the operators that a composite one is made of."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0
        self.unknown = False

    def __torch_dispatch__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        if _is_composite(func) and not has_formula(func):
            with self:
                return func.decompose(*args, **(kwargs or {}))
        result = func(*args, **(kwargs or {}))
        arguments = _named_arguments(func, args, kwargs or {})
        written = _written(func, arguments, _distinct(_tensors(list(arguments.values()))), result)
        if written and not _does_nothing(func):
            elements = sum(tensor.numel() for tensor in written)
            extra = extra_flops(func, arguments, elements)
            self.flops += extra or 0
            self.unknown |= extra is None
        return result


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Makes an `Operator` of each ATen operator that writes something.

    The dataflow follows storages: an operator waits for the last one that wrote to a storage that
    it reads, so operators in place, and writes to parts of a tensor, come after one another.
    """

    def __init__(
        self,
        weights: Iterable[Tensor],
        running: list[str],
        counter: FlopCounterMode,
        element_bytes: int,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._operators: list[Operator] = []
        self._results: frozenset[int] = frozenset()
        self._unknown: dict[str, None] = {}
        self._weights = {tensor.untyped_storage() for tensor in weights}
        self._writer: WeakKeyDictionary[torch.UntypedStorage, int] = WeakKeyDictionary()
        self._running = running
        self._counter = counter
        self._element_bytes = element_bytes

    def __torch_dispatch__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        arguments = _named_arguments(func, args, kwargs or {})
        if _is_dropout_off(func, arguments):
            return next(iter(arguments.values()))
        before, inside = self._counter.get_total_flops(), None
        if _is_composite(func) and not has_formula(func):
            with _Inside() as inside:
                result = func.decompose(*args, **(kwargs or {}))
        else:
            result = func(*args, **(kwargs or {}))
        macs = attention_macs(func, arguments)
        if macs is None:
            macs = (self._counter.get_total_flops() - before) // 2
        given = _distinct(_tensors(list(arguments.values())))
        written = _written(func, arguments, given, result)
        if macs and written and written[0].is_complex():
            macs *= REAL_PRODUCTS
        if written and not _does_nothing(func):
            # Operators such as `zeros_like` read only shapes.
            shape_only = base_name(func).startswith("new_") or base_name(func).endswith("_like")
            self._add(func, arguments, [] if shape_only else given, written, macs, inside)
        return result

    def note_results(self, returned: object) -> None:
        """Note which operators made what the network returned."""
        self._results = frozenset(self._writers(_tensors(returned)))

    def graph(self) -> Graph:
        """Return what was recorded."""
        unknown = tuple(self._unknown)
        return Graph(operators=tuple(self._operators), results=self._results, unknown=unknown)

    def _add(
        self,
        func: Any,
        arguments: Arguments,
        read: list[Tensor],
        written: list[Tensor],
        macs: int,
        inside: _Inside | None,
    ) -> None:
        name, elements = base_name(func), sum(tensor.numel() for tensor in written)
        if inside:
            extra = None if inside.unknown else inside.flops
        else:
            extra = extra_flops(func, arguments, elements)
        if extra is None and not macs:
            self._unknown[name] = None
        predecessors = self._writers(read)
        if name in _OVERWRITING:
            read = read[1:]
        channels = None
        if name in _LAYERS:
            channels = int(written[0].shape[-1 if name == "linear" else 1])
        weights = [tensor for tensor in read if tensor.untyped_storage() in self._weights]
        inputs = [tensor for tensor in read if tensor.untyped_storage() not in self._weights]
        operator = Operator(
            name=name,
            module=self._running[-1],
            macs=macs,
            flops=2 * macs + (extra or 0),
            input_bytes=self._bytes(inputs),
            output_bytes=self._bytes(written),
            weight_bytes=self._bytes(weights),
            channels=channels,
            predecessors=tuple(sorted(predecessors)),
            output_shapes=tuple(tuple(tensor.shape) for tensor in written),
            activations=elements if macs and name != FUSED_ATTENTION else 0,
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


def _named_arguments(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    names = (argument.name for argument in func._schema.arguments)
    return dict(zip(names, args, strict=False)) | dict(kwargs)


def _written(func: Any, arguments: Arguments, read: list[Tensor], result: object) -> list[Tensor]:
    """Return the tensors that an operator makes or changes; none for a view."""
    known = {tensor.untyped_storage() for tensor in read}
    made = [t for t in _distinct(_tensors(result)) if t.untyped_storage() not in known]
    if not func._schema.is_mutable:
        return made
    changed = [
        arguments[each.name]
        for each in func._schema.arguments
        if each.alias_info is not None and each.alias_info.is_write and each.name in arguments
    ]
    return made + _tensors(changed)


def _is_dropout_off(func: Any, arguments: Arguments) -> bool:
    """Return whether an operator only passes its input on; some versions of torch copy it."""
    return base_name(func).endswith("dropout") and not arguments.get("train", True)


def _does_nothing(func: Any) -> bool:
    """Return whether an operator touches no number: it makes an empty tensor or a view in place."""
    return "empty" in base_name(func) or torch.Tag.inplace_view in func.tags


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _distinct(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Return each tensor once; the same elements under another shape are the same tensor."""
    found: dict[tuple[Any, ...], Tensor] = {}
    for each in tensors:
        found.setdefault((each.untyped_storage(), each.storage_offset(), each.numel()), each)
    return list(found.values())
