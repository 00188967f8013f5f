"""The products and the other floating-point operations of ONNX's operators, by shapes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from harness.profiling import formulas

Shape = tuple[int, ...]

VIEWS = {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout"}
"""Operators that only show a tensor under another shape."""
_MOVES = {
    *("Transpose", "Concat", "Slice", "Gather", "GatherElements", "GatherND", "Expand", "Pad"),
    *("Split", "Tile", "Cast", "DepthToSpace", "SpaceToDepth", "ScatterND", "ScatterElements"),
    *("ConstantOfShape", "Range", "OneHot", "Trilu", "Compress", "EyeLike"),
}
_POINTWISE = {
    *("Add", "Sub", "Mul", "Div", "Pow", "Mod", "Min", "Max", "Sum", "Mean", "Relu", "LeakyRelu"),
    *("PRelu", "Elu", "Selu", "Celu", "Gelu", "Sigmoid", "HardSigmoid", "HardSwish", "Swish"),
    *("Mish", "Softplus", "Softsign", "ThresholdedRelu", "Tanh", "Erf", "Clip", "Exp", "Log"),
    *("Sqrt", "Reciprocal", "Neg", "Abs", "Sign", "Floor", "Ceil", "Round", "Sin", "Cos", "Tan"),
    *("Where", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Not"),
    *("Xor", "IsNaN", "IsInf", "QuantizeLinear", "DequantizeLinear"),
}
_PRODUCTS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
# FLOPs for each input element.
_PER_INPUT = {
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "ArgMax", "ArgMin", "CumSum"), 1),
    **{f"Reduce{name}": 1 for name in ("Mean", "Sum", "Max", "Min", "Prod", "LogSumExp", "L1")},
    **dict.fromkeys(("ReduceL2", "ReduceSumSquare"), formulas.PER_NORM_OF_VECTOR_ELEMENT),
    **dict.fromkeys(("Softmax", "LogSoftmax"), formulas.PER_SOFTMAX_ELEMENT),
    "BatchNormalization": formulas.PER_BATCH_NORM_ELEMENT,
}
_NORMS = {
    **dict.fromkeys(
        ("LayerNormalization", "GroupNormalization", "InstanceNormalization"),
        formulas.PER_NORM_ELEMENT,
    ),
    "RMSNormalization": formulas.PER_RMS_NORM_ELEMENT,
}
_PER_RESIZED = {
    "nearest": 0,
    "linear": formulas.PER_BILINEAR_PIXEL,
    "cubic": formulas.PER_BICUBIC_PIXEL,
}


def count_macs(
    kind: str, attributes: Mapping[str, Any], inputs: Sequence[Shape], outputs: Sequence[Shape]
) -> int:
    """Return the multiply-accumulates of an operator."""
    if kind not in _PRODUCTS:
        return 0
    first, second = inputs[:2]
    if kind == "ConvTranspose":
        return math.prod(first) * math.prod(second[1:])
    if kind == "Conv":
        return math.prod(outputs[0]) * math.prod(second[1:])
    inner = first[0] if attributes.get("transA") else first[-1]
    return math.prod(outputs[0]) * inner


def extra_flops(
    kind: str, attributes: Mapping[str, Any], inputs: Sequence[Shape], outputs: Sequence[Shape]
) -> int | None:
    """Return the FLOPs of an operator besides its products; None where there is no formula."""
    read = math.prod(inputs[0]) if inputs else 0
    written = sum(math.prod(shape) for shape in outputs)
    flops = None
    if kind in _MOVES:
        flops = 0
    elif kind in _PRODUCTS:
        flops = written if len(inputs) > 2 else 0
    elif kind in _POINTWISE:
        flops = written
    elif kind in _PER_INPUT:
        flops = _PER_INPUT[kind] * read
    elif kind in _NORMS:
        flops = (_NORMS[kind] + len(inputs) - 1) * read
    elif kind == "Resize":
        flops = _PER_RESIZED[attributes.get("mode", b"nearest").decode()] * written
    elif kind in ("AveragePool", "MaxPool"):
        flops = _pooling_flops(attributes, inputs[0], outputs[0])
    return flops


def _pooling_flops(
    attributes: Mapping[str, Any], image: tuple[int, ...], out: tuple[int, ...]
) -> int:
    kernel = attributes["kernel_shape"]
    ones = [1] * len(kernel)
    axes = zip(
        *(out[2:], image[2:], kernel, attributes.get("strides", ones)),
        *(attributes.get("pads", [0] * len(kernel))[: len(kernel)],),
        attributes.get("dilations", ones),
        strict=True,
    )
    return math.prod(image[:2]) * math.prod(formulas.covered(*axis) for axis in axes)
