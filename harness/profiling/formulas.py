"""How many floating-point operations an ATen operator takes, products aside.

A multiply-accumulate is two operations, and those of convolutions, matrix products and attention
are counted by `harness.measure.operations`. The rest is counted here after one rule: a step of the
plain algorithm on one number is one operation, whether it adds, compares or takes an exponential.
fvcore, thop and the published accounting have other constants; next to the products none of them
weigh much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

PER_BATCH_NORM_ELEMENT = 2  # multiplied and shifted: the rest is constant in inference
PER_NORM_ELEMENT = 5  # mean, difference, square, sum of squares, scale
PER_RMS_NORM_ELEMENT = 3  # square, sum of squares, scale
PER_SOFTMAX_ELEMENT = 5  # largest, difference, exponential, sum, quotient
PER_SCORE = PER_SOFTMAX_ELEMENT + 1  # of attention: scaled before the softmax
PER_VARIANCE_ELEMENT = 4  # mean, difference, square, sum of squares
PER_NORM_OF_VECTOR_ELEMENT = 2  # square, sum of squares
PER_LINEAR_POINT = 3  # two products, a sum
PER_BILINEAR_PIXEL = 7  # four products, three sums
PER_BICUBIC_PIXEL = 31  # sixteen products, fifteen sums

Arguments = Mapping[str, Any]
Formula = Callable[[Arguments, int, int], int]
"""From an operator's arguments, the elements of its first input and those of its outputs."""

_FUSED_ATTENTION = "scaled_dot_product_attention"
# torch marks most such operators as pointwise, but not all, or not in every version.
_POINTWISE = {
    *("relu6", "hardtanh", "hardswish", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu"),
    *("silu", "gelu", "softplus", "mish", "where", "dropout"),
}
# Nothing is computed, though torch marks some of them as pointwise.
_MOVES = {
    *("cat", "concat", "stack", "contiguous", "clone", "reshape", "flatten", "copy", "to"),
    *("type_as", "_to_copy", "pad", "constant_pad_nd", "reflection_pad2d", "roll", "flip"),
    *("repeat", "tile", "repeat_interleave", "expand", "index", "index_select", "index_put"),
    *("gather", "scatter", "embedding", "im2col", "unfold", "pixel_shuffle", "pixel_unshuffle"),
    *("channel_shuffle", "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d"),
    *("one_hot", "tril", "triu", "fill", "zero", "zeros", "zeros_like", "ones", "ones_like"),
    *("full", "full_like", "scalar_tensor", "new_zeros", "new_ones", "new_full", "arange"),
    *("linspace", "eye", "block_diag", "masked_scatter", "meshgrid"),
}


def extra_flops(operator: Any, arguments: Arguments, outputs: int, macs: int) -> int | None:
    """Return the FLOPs of an operator besides its products; None where there is no formula.

    Args:
        operator: `torch.ops.aten.<name>.<overload>`.
        arguments: Its arguments by their names in the schema.
        outputs: Elements of all its outputs.
        macs: Its multiply-accumulates.
    """
    name = base_name(operator)
    if name in _MOVES:
        return 0
    formula = _FORMULAS.get(name)
    if formula is not None:
        return formula(arguments, _first_elements(arguments), outputs)
    if torch.Tag.pointwise in operator.tags or name in _POINTWISE:
        return outputs
    return 0 if macs else None


def attention_macs(operator: Any, arguments: Arguments) -> int | None:
    """Return the multiply-accumulates of both products of fused attention; None for another one.

    A kernel that skips what a causal mask hides does fewer; that is not counted.
    """
    if base_name(operator) != _FUSED_ATTENTION:
        return None
    features = arguments["query"].shape[-1] + arguments["value"].shape[-1]
    return _scores(arguments) * int(features)


def base_name(operator: Any) -> str:
    """Return "relu" for `aten.relu_.default`: whether it works in place is no matter here."""
    name: str = operator._schema.name.partition("::")[2]
    return name.removesuffix("_")


def _first_elements(arguments: Arguments) -> int:
    tensors = (leaf for leaf in tree_leaves(list(arguments.values())) if isinstance(leaf, Tensor))
    return next((tensor.numel() for tensor in tensors), 0)


def _bias(arguments: Arguments, _: int, outputs: int) -> int:
    return outputs if arguments.get("bias") is not None else 0


def _attention(arguments: Arguments, _: int, __: int) -> int:
    return PER_SCORE * _scores(arguments)


def _scores(arguments: Arguments) -> int:
    query: Tensor = arguments["query"]
    return query.numel() // query.shape[-1] * int(arguments["key"].shape[-2])


def _norm(per_element: int) -> Formula:
    def count(arguments: Arguments, elements: int, _: int) -> int:
        affine = sum(arguments.get(name) is not None for name in ("weight", "bias"))
        return (per_element + affine) * elements

    return count


def _per_input(operations: int) -> Formula:
    return lambda _, elements, __: operations * elements


def _per_output(operations: int) -> Formula:
    return lambda _, __, outputs: operations * outputs


def _windows(dimensions: int) -> Formula:
    """Count one operation for each element of each window; a single size goes for all sides."""

    def count(arguments: Arguments, _: int, outputs: int) -> int:
        sizes = list(_listed(arguments["kernel_size"]))
        window = 1
        for size in sizes * dimensions if len(sizes) == 1 else sizes:
            window *= size
        return window * outputs

    return count


def _listed(value: int | Iterable[int]) -> Iterable[int]:
    return [value] if isinstance(value, int) else value


_FORMULAS: dict[str, Formula] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution", "linear"), _bias),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _bias),
    **dict.fromkeys(("addmm", "baddbmm", "addbmm", "addmv"), _per_output(1)),
    _FUSED_ATTENTION: _attention,
    "batch_norm": _per_input(PER_BATCH_NORM_ELEMENT),
    **dict.fromkeys(("layer_norm", "group_norm", "instance_norm"), _norm(PER_NORM_ELEMENT)),
    "rms_norm": _norm(PER_RMS_NORM_ELEMENT),
    **dict.fromkeys(("softmax", "log_softmax", "_safe_softmax"), _per_input(PER_SOFTMAX_ELEMENT)),
    **dict.fromkeys(("avg_pool1d", "max_pool1d"), _windows(1)),
    **dict.fromkeys(("avg_pool2d", "max_pool2d"), _windows(2)),
    **dict.fromkeys(("avg_pool3d", "max_pool3d"), _windows(3)),
    **dict.fromkeys(("adaptive_avg_pool1d", "adaptive_avg_pool2d"), _per_input(1)),
    **dict.fromkeys(("adaptive_max_pool1d", "adaptive_max_pool2d"), _per_input(1)),
    **dict.fromkeys(
        ("mean", "sum", "amax", "amin", "max", "min", "argmax", "argmin"), _per_input(1)
    ),
    **dict.fromkeys(("prod", "cumsum", "logsumexp", "all", "any", "col2im"), _per_input(1)),
    **dict.fromkeys(("var", "std", "var_mean", "std_mean"), _per_input(PER_VARIANCE_ELEMENT)),
    "linalg_vector_norm": _per_input(PER_NORM_OF_VECTOR_ELEMENT),
    "norm": _per_input(PER_NORM_OF_VECTOR_ELEMENT),
    "upsample_linear1d": _per_output(PER_LINEAR_POINT),
    **dict.fromkeys(
        ("upsample_bilinear2d", "_upsample_bilinear2d_aa"), _per_output(PER_BILINEAR_PIXEL)
    ),
    **dict.fromkeys(
        ("upsample_bicubic2d", "_upsample_bicubic2d_aa"), _per_output(PER_BICUBIC_PIXEL)
    ),
}
