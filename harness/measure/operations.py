"""Multiply-accumulates of a forward pass, counted exactly and as thop counts them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from harness.errors import CellError, RequestError
from harness.measure.networks import frozen, inference, meta_copy, on_meta_device
from harness.measure.products import ProductCounter
from harness.util.error_text import describe_error


@dataclass(frozen=True, kw_only=True)
class Operations:
    """The operations of a forward pass over one image.

    Attributes:
        gmacs: 10^9 multiply-accumulates in convolutions, matrix products and attention products.
            Positions in the padding count, because they are computed. Biases, norms, activations
            and pooling do not count.
        gflops: 10^9 floating-point operations; a multiply-accumulate is two of them.
        gmacs_thop: Result of `thop.profile` / 10^9, for comparison with published tables. thop
            counts norms and pooling, and leaves out attention and layers that it does not know.
        reasons: Why a figure is None, by its name. `gmacs` and `gflops` are where an operator that
            multiplies has no formula.
    """

    gmacs: float | None
    gflops: float | None
    gmacs_thop: float | None
    reasons: Mapping[str, str]


def measure_operations(network: nn.Module, example: Tensor) -> Operations:
    """Count the operations of a floating-point network for one image, 1×C×H×W.

    The network itself is not run and not changed; only shape and type of the image matter.

    Raises:
        RequestError: `example` is not a single image.
        CellError: The network cannot run on the meta device.
    """
    if example.shape[0] != 1:
        raise RequestError(f"operations are counted for one image, not a batch of {len(example)}")
    macs, uncounted = _count_products(network, example)
    thop_macs, reason = _count_macs_thop(network, example)
    reasons = {"gmacs_thop": reason} if reason else {}
    if uncounted:
        reasons |= dict.fromkeys(("gmacs", "gflops"), uncounted)
    return Operations(
        gmacs=None if uncounted else macs / 1e9,
        gflops=None if uncounted else 2 * macs / 1e9,
        gmacs_thop=None if thop_macs is None else thop_macs / 1e9,
        reasons=reasons,
    )


def count_macs(network: nn.Module, example: Tensor) -> int:
    """Return the multiply-accumulates of a forward pass over `example` (N×C×H×W).

    Raises:
        CellError: The network cannot run on the meta device, or an operator that multiplies has no
            formula.
    """
    macs, uncounted = _count_products(network, example)
    if uncounted:
        raise CellError(f"operations cannot be counted: {uncounted}")
    return macs


def _count_products(network: nn.Module, example: Tensor) -> tuple[int, str]:
    """Return the multiply-accumulates that have a formula, and which operators have none."""
    with on_meta_device("operations cannot be counted"):
        copied = meta_copy(network)
        with inference(copied), counting_flops(copied) as counter:
            copied(example.to("meta"))
    return int(counter.get_total_flops()) // 2, describe_uncounted(counter.uncounted)


def describe_uncounted(operators: Iterable[str]) -> str:
    """Return the reason why products are not counted; empty if all of them are."""
    names = ", ".join(operators)
    return f"operators that multiply have no formula: {names}" if names else ""


def count_parameters(network: nn.Module) -> int:
    """Return the number of parameters, trainable or not; a shared one counts once."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_trainable_parameters(network: nn.Module) -> int:
    """Return the number of parameters that training may change; a shared one counts once."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


@contextmanager
def counting_flops(
    network: nn.Module, *, fused_attention: bool = False
) -> Iterator[ProductCounter]:
    """Count the floating-point operations of products that run in the block.

    A multiply-accumulate is two operations. Other dispatch modes may be entered in the block; they
    see each operator before the counter. Attention is split into its two products unless it is to
    stay fused; then its count depends on torch's version and on the backend.
    """
    counter = ProductCounter()
    attention = nullcontext() if fused_attention else sdpa_kernel(SDPBackend.MATH)
    # The counter hooks into the gradients of module inputs and breaks if one is a parameter.
    with frozen(network), _without_fast_path(), attention, counter:
        yield counter


@contextmanager
def _without_fast_path() -> Iterator[None]:
    """Make `nn.MultiheadAttention` call its operators one by one, as its fused path hides them."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def _count_macs_thop(network: nn.Module, example: Tensor) -> tuple[float | None, str | None]:
    """Return thop's count, or None and the reason; thop changes modules, so it gets a copy."""
    try:
        with warnings.catch_warnings():
            # thop imports distutils, which is deprecated.
            warnings.simplefilter("ignore", DeprecationWarning)
            import thop

            macs, _ = thop.profile(meta_copy(network), inputs=(example.to("meta"),), verbose=False)
    except Exception as error:
        return None, f"thop failed: {describe_error(error)}"
    return float(macs), None
