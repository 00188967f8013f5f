"""The floating-point operations of an ATen operator besides its products.

A multiply-accumulate is two operations; `harness.measure.operations` counts those of convolutions,
matrix products and attention. Everything else is counted here by one rule: a step of the plain
algorithm on one number is one operation, whether it adds, compares or takes an exponential. fvcore,
thop and the published accounting have other constants; next to the products none of them matter
much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

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
PER_COMPLEX_PRODUCT = 6  # four products, two sums

Arguments = Mapping[str, Any]
Formula = Callable[[Arguments, int, Sequence[Tensor]], int]
"""Takes an operator's arguments, the elements of its first input, and its outputs."""

FUSED_ATTENTION = "scaled_dot_product_attention"
# torch does not mark all of these operators as pointwise, or not in every version.
_POINTWISE = {
    *("relu6", "hardtanh", "hardswish", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu"),
    *("silu", "gelu", "softplus", "mish", "where", "dropout", "log_sigmoid", "threshold"),
    *("floor_divide", "absolute", "negative", "fix", "heaviside", "complex"),
}
# These compute nothing, though torch marks some of them as pointwise.
_MOVES = {
    *("cat", "concat", "stack", "contiguous", "clone", "reshape", "flatten", "copy", "to"),
    *("type_as", "_to_copy", "pad", "constant_pad_nd", "reflection_pad2d", "roll", "flip"),
    *("repeat", "tile", "repeat_interleave", "expand", "index", "index_select", "index_put"),
    *("gather", "scatter", "embedding", "im2col", "unfold", "pixel_shuffle", "pixel_unshuffle"),
    *("channel_shuffle", "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d"),
    *("one_hot", "tril", "triu", "fill", "zero", "zeros", "zeros_like", "ones", "ones_like"),
    *("full", "full_like", "scalar_tensor", "new_zeros", "new_ones", "new_full", "arange"),
    *("linspace", "eye", "block_diag", "masked_scatter", "meshgrid", "masked_select", "take"),
    *("reflection_pad1d", "reflection_pad3d", "replication_pad1d", "replication_pad2d"),
    *("replication_pad3d", "_upsample_nearest_exact1d", "_upsample_nearest_exact2d"),
    *("hstack", "vstack", "dstack", "column_stack", "concatenate", "diag_embed", "tril_indices"),
    *("triu_indices", "slice_scatter", "select_scatter", "index_copy", "_unsafe_index", "diag"),
    *("native_channel_shuffle", "fliplr", "flipud", "rot90", "lift_fresh", "cartesian_prod"),
}


@cache
def has_formula(operator: Any) -> bool:
    """Return whether the FLOPs of an operator besides its products are known."""
    name = base_name(operator)
    return name in {*_MOVES, *_FORMULAS, *_POINTWISE} or torch.Tag.pointwise in operator.tags


def extra_flops(
    operator: Any, arguments: Arguments, read: Sequence[Tensor], written: Sequence[Tensor]
) -> int | None:
    """Return the FLOPs of `torch.ops.aten.<name>.<overload>` besides its products.

    None: there is no formula. The tensors that it reads are in the order of its arguments.
    """
    name = base_name(operator)
    if not has_formula(operator):
        return None
    if name in _MOVES:
        return 0
    formula = _FORMULAS.get(name, _per_output(1))
    flops = formula(arguments, read[0].numel() if read else 0, written)
    if read and read[0].is_complex():
        # A step on a complex number is one on each of its parts; a product is four and two sums.
        flops *= PER_COMPLEX_PRODUCT if name == "mul" else 2
    return flops


def attention_macs(operator: Any, arguments: Arguments) -> int | None:
    """Return the multiply-accumulates of both products of fused attention; None for others.

    What a kernel saves by skipping the part that a causal mask hides is not subtracted.
    """
    if base_name(operator) != FUSED_ATTENTION:
        return None
    features = arguments["query"].shape[-1] + arguments["value"].shape[-1]
    return _scores(arguments) * int(features)


@cache
def base_name(operator: Any) -> str:
    """Return "relu" for `aten.relu_.default`: whether it works in place does not matter here."""
    name: str = operator._schema.name.partition("::")[2]
    return name.removesuffix("_")


def _bias(arguments: Arguments, elements: int, written: Sequence[Tensor]) -> int:
    return _per_output(int(arguments.get("bias") is not None))(arguments, elements, written)


def _scores(arguments: Arguments) -> int:
    query: Tensor = arguments["query"]
    return query.numel() // query.shape[-1] * int(arguments["key"].shape[-2])


def _norm(per_element: int) -> Formula:
    def count(arguments: Arguments, elements: int, _: object) -> int:
        affine = sum(arguments.get(name) is not None for name in ("weight", "bias"))
        return (per_element + affine) * elements

    return count


def _per_input(operations: int) -> Formula:
    return lambda _, elements, __: operations * elements


def _per_output(operations: int) -> Formula:
    return lambda _, __, written: operations * sum(tensor.numel() for tensor in written)


def _batch_norm(arguments: Arguments, elements: int, written: Sequence[Tensor]) -> int:
    """Count scaling by constants, or a norm where the statistics are those of the batch."""
    if arguments["training"] or arguments.get("running_mean") is None:
        return _norm(PER_NORM_ELEMENT)(arguments, elements, written)
    return PER_BATCH_NORM_ELEMENT * elements


def _pooling(dimensions: int) -> Formula:
    """Count one operation for each element of each window, which ends at the image's border."""

    def count(arguments: Arguments, _: int, written: Sequence[Tensor]) -> int:
        def along(name: str, default: object) -> list[int]:
            given: Any = arguments.get(name) or default
            sizes = [given] if isinstance(given, int) else list(given)
            return sizes * dimensions if len(sizes) == 1 else sizes

        image, kernel = arguments["self"].shape, along("kernel_size", 1)
        options = (along("stride", kernel), along("padding", 0), along("dilation", 1))
        sides = (written[0].shape[-dimensions:], image[-dimensions:])
        positions = [covered(*axis) for axis in zip(*sides, kernel, *options, strict=True)]
        return math.prod([*image[:-dimensions], *positions])

    return count


def covered(windows: int, side: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Return how many positions along an axis its windows have, without those outside the image."""
    starts = range(-padding, windows * stride - padding, stride)
    return sum(0 <= start + dilation * step < side for start in starts for step in range(kernel))


_FORMULAS: dict[str, Formula] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution", "linear"), _bias),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _bias),
    **dict.fromkeys(("addmm", "baddbmm", "addbmm", "addmv"), _per_output(1)),
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "dot"), _per_output(0)),
    FUSED_ATTENTION: lambda arguments, _, __: PER_SCORE * _scores(arguments),
    "batch_norm": _batch_norm,
    **dict.fromkeys(("layer_norm", "group_norm", "instance_norm"), _norm(PER_NORM_ELEMENT)),
    "rms_norm": _norm(PER_RMS_NORM_ELEMENT),
    **dict.fromkeys(("softmax", "log_softmax", "_safe_softmax"), _per_input(PER_SOFTMAX_ELEMENT)),
    **dict.fromkeys(("avg_pool1d", "max_pool1d", "max_pool1d_with_indices"), _pooling(1)),
    **dict.fromkeys(("avg_pool2d", "max_pool2d", "max_pool2d_with_indices"), _pooling(2)),
    **dict.fromkeys(("avg_pool3d", "max_pool3d", "max_pool3d_with_indices"), _pooling(3)),
    **dict.fromkeys(
        (
            *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d"),
            *("adaptive_max_pool2d", "mean", "sum", "amax", "amin", "max", "min", "argmax"),
            *("argmin", "prod", "cumsum", "logsumexp", "all", "any", "col2im", "nansum", "nanmean"),
            *("adaptive_avg_pool3d", "adaptive_max_pool3d", "cumprod", "aminmax", "trace"),
        ),
        _per_input(1),
    ),
    **dict.fromkeys(("var", "std", "var_mean", "std_mean"), _per_input(PER_VARIANCE_ELEMENT)),
    **dict.fromkeys(("linalg_vector_norm", "norm"), _per_input(PER_NORM_OF_VECTOR_ELEMENT)),
    "glu": _per_output(2),  # a sigmoid and a product
    "upsample_linear1d": _per_output(PER_LINEAR_POINT),
    "upsample_bilinear2d": _per_output(PER_BILINEAR_PIXEL),
    "_upsample_bilinear2d_aa": _per_output(PER_BILINEAR_PIXEL),
    "upsample_bicubic2d": _per_output(PER_BICUBIC_PIXEL),
    "_upsample_bicubic2d_aa": _per_output(PER_BICUBIC_PIXEL),
}
