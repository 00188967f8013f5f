"""Operators that multiply: formulas for their operations, and those that have none.

A multiply-accumulate is two operations. `FlopCounterMode` has formulas for convolutions, matrix
products and fused attention; the others are here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, flop_registry, shape_wrapper

Shape = Sequence[int]
# A complex product is four real ones, and a complex sum two.
_COMPLEX = 4
_FFT_OPERATIONS = 5

# ATen operators that multiply, by their names, as far as they are no pointwise ones.
_MULTIPLIES = re.compile(
    r"(?<!ga)(?<!ha)mm|matmul|conv(?!ert)|attention|^(add)?mv$|dot|^(?!_?upsample).*linear"
    r"|[cp]dist|euclidean|fft_[cr]2[cr]|linalg_(?!vector_norm|cross|_powsum|check)|cholesky|solve|lstsq"
    r"|ormqr|geqrf|lstm|gru|rnn|grid_generator|transformer_encoder|multi_head|^einsum$"
)
# Namespaces of torch itself besides aten, and operators of torchvision that only pool and choose.
_NO_PRODUCTS = {"prim", "prims", "profiler", "rngprims"}
_POOLING = {"nms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool"}


class ProductCounter(FlopCounterMode):
    """Counts the operations of products on the shapes of their arguments.

    Attributes:
        uncounted: The names of the operators that multiply and have no formula, as its keys.
    """

    def __init__(self) -> None:
        super().__init__(display=False, custom_mapping=_formulas())
        self.uncounted: dict[str, None] = {}

    def _count_flops(self, operator: Any, out: Any, args: Any, kwargs: Any) -> Any:
        """Count an operator that has run, which torch could not take apart."""
        if operator not in self.flop_registry and _multiplies(operator):
            self.uncounted[operator._qualified_op_name] = None
        return super()._count_flops(operator, out, args, kwargs)  # type: ignore[no-untyped-call]


def _multiplies(operator: Any) -> bool:
    """Whether an operator may multiply and add up; of one that is not torch's, it is not known."""
    namespace, _, name = operator._qualified_op_name.partition("::")
    if namespace in _NO_PRODUCTS or name in _POOLING:
        return False
    if any(torch.Tag.pointwise in getattr(operator, each).tags for each in operator.overloads()):
        return False
    return namespace != "aten" or bool(_MULTIPLIES.search(name))


def _formulas() -> dict[Any, Callable[..., int]]:
    """Return the formulas of all products, by operator; `FlopCounterMode` calls them.

    It gives them tensors where `_get_raw` is set, else shapes.
    """
    aten = torch.ops.aten
    ours: dict[Any, Callable[..., int]] = {
        aten.dot: lambda a, *_, **__: 2 * a[0],
        aten.vdot: lambda a, *_, **__: 2 * a[0],
        aten.mv: lambda a, *_, **__: 2 * a[0] * a[1],
        aten.addmv: lambda _, a, *__, **___: 2 * a[0] * a[1],
        aten.addbmm: lambda _, a, b, *__, **___: 2 * a[0] * a[1] * a[2] * b[2],
        aten._trilinear: _bilinear,
        aten._cdist_forward: _distances,
        aten._euclidean_dist: _distances,
        aten._pdist_forward: _distances,
    }
    formulas: dict[Any, Any] = {
        operator: shape_wrapper(formula)  # type: ignore[no-untyped-call]
        for operator, formula in ours.items()
    }
    formulas |= flop_registry
    found = {operator: _complex_aware(formula) for operator, formula in formulas.items()}
    found |= {
        aten._fft_c2c: _fourier(_FFT_OPERATIONS),
        aten._fft_r2c: _fourier(_FFT_OPERATIONS / 2),
        aten._fft_c2r: _fourier(_FFT_OPERATIONS / 2),
    }
    # Known once torchvision is imported.
    if hasattr(torch.ops.torchvision, "deform_conv2d"):
        found[torch.ops.torchvision.deform_conv2d] = _deformable
    return found


def _bilinear(x: Shape, weight: Shape, *_: object, **__: object) -> int:
    """Return the operations of y_k = x·W_k·y: N×I by K×I×J by N×J."""
    images, features = x
    return 2 * images * weight[0] * weight[2] * (features + 1)


def _distances(x: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    """Return the operations of distances: a square and a sum for each feature of each pair."""
    return 2 * math.prod(out_shape) * x[-1]


def _deformable(_: Shape, weight: Shape, *__: Any, out_shape: Shape, **___: Any) -> int:
    """Return the operations of a deformable convolution, without finding its inputs."""
    return 2 * math.prod(out_shape) * math.prod(weight[1:])


def _fourier(per_element: float) -> Callable[..., int]:
    """Return the usual count of a fast Fourier transform of N numbers: 5 N log2 N, half if real."""

    def count(x: Tensor, dim: Sequence[int], *_: object, out_val: Tensor, **__: object) -> int:
        # The real side is the longer one; both have the same size if both are complex.
        longer = max(x, out_val, key=lambda tensor: tensor.numel())
        size = math.prod(longer.shape[each] for each in dim)
        return round(per_element * longer.numel() * math.log2(size)) if size else 0

    count._get_raw = True  # type: ignore[attr-defined]
    return count


def _complex_aware(formula: Callable[..., int]) -> Callable[..., int]:
    """Return a formula that counts products of complex numbers fourfold."""

    def count(*args: Any, out_val: Any, **kwargs: Any) -> int:
        is_complex = isinstance(out_val, Tensor) and out_val.is_complex()
        return (_COMPLEX if is_complex else 1) * formula(*args, out_val=out_val, **kwargs)

    count._get_raw = True  # type: ignore[attr-defined]
    return count
