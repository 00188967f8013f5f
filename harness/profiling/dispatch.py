"""What happens in one dispatched ATen operator: what it reads, writes, and makes inside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from harness.measure.memory import LiveStorages
from harness.profiling.formulas import FUSED_ATTENTION, Arguments, base_name

LAYERS = {"conv1d", "conv2d", "conv3d", "convolution", "linear"}


class LiveResults(LiveStorages):  # type: ignore[no-untyped-call]
    """Follows also what composite operators make inside: copies of operands, indices of maxima.

    Fused attention stays one operator where there are kernels for it: for N×H×L×C, with as many
    channels in values as in queries.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not is_composite(func) or _is_whole(func, args):
            return super().__torch_dispatch__(func, types, args, kwargs)
        with self:
            return func.decompose(*args, **(kwargs or {}))


@cache
def is_composite(func: Any) -> bool:
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
        return name.endswith("norm") or name in LAYERS - {"linear"}
    query, _, value = args[:3]
    return bool(query.dim() == 4 and query.shape[-1] == value.shape[-1])


def named_arguments(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call by their names in the operator's schema."""
    names = (argument.name for argument in func._schema.arguments)
    return dict(zip(names, args, strict=False)) | dict(kwargs)


def dataflow(func: Any, arguments: Arguments, result: object) -> tuple[list[Tensor], list[Tensor]]:
    """Return the tensors that an operator reads, and those that it makes or changes.

    Nothing is written by a view, and where an empty tensor is made.
    """
    name = base_name(func)
    read = _distinct(find_tensors(arguments))
    if "empty" in name or torch.Tag.inplace_view in func.tags:
        return read, []
    known = {tensor.untyped_storage() for tensor in read}
    written = [t for t in _distinct(find_tensors(result)) if t.untyped_storage() not in known]
    for each in func._schema.arguments:
        if each.alias_info is not None and each.alias_info.is_write:
            written += find_tensors(arguments.get(each.name))
    # Operators such as `zeros_like` read only shapes.
    return [] if name.startswith("new_") or name.endswith("_like") else read, written


def find_tensors(tree: object) -> list[Tensor]:
    """Return all tensors in nested arguments or results."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _distinct(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Return each tensor once; the same elements under another shape are the same tensor."""
    found: dict[tuple[Any, ...], Tensor] = {}
    for each in tensors:
        found.setdefault((each.untyped_storage(), each.storage_offset(), each.numel()), each)
    return list(found.values())
