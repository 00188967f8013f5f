"""Compares the two ways to int8 that torch has, FX graph mode and PT2E, beside fp32.

    uv pip install torchao==0.18.0    # PT2E; it is no dependency of the project
    python studies/int8_ways.py --threads 1

PT2E comes to int8 kernels through torch.compile alone, so it needs a C++ compiler.
"""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import torch
import torch._inductor.config as inductor
import typer
from torch import Tensor, nn
from typer import Option

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.catalog import load_model
from harness.compression.quantization import with_any_ranges
from harness.measure.ratios import compare_latency, time_side_by_side

Network = Callable[[Tensor], Tensor]
_REFERENCE = "fp32, eager"
_ROUNDS, _SECONDS = 100, 60.0


def main(
    model: Annotated[str, Option(help="A convolutional model.")] = "resnet",
    image_size: Annotated[int, Option(help="Side of the image, pixels.")] = 224,
    threads: Annotated[int, Option(help="CPU threads.")] = 1,
) -> None:
    """Print latency at batch 1 as a multiple of eager fp32's, and the error of the logits."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(threads)
    torch.manual_seed(42)
    # Weights are packed once; without this PT2E's stay float, and so do the products.
    inductor.freezing = True
    image = torch.randn(1, 3, image_size, image_size)
    network = load_model(model).build(10, 3, False).eval()
    ways: dict[str, Network] = {_REFERENCE: network}
    for name, make in _WAYS.items():
        begin = time.perf_counter()
        ways[name] = make(network, image)
        with torch.no_grad():
            logits, wanted = ways[name](image), network(image)
        error = float((logits - wanted).abs().max() / wanted.abs().max())
        print(f"{name}: ready after {time.perf_counter() - begin:.1f} s, logits off by {error:.2g}")
    rounds = time_side_by_side(
        ways,
        dict.fromkeys(ways, image),
        reference=_REFERENCE,
        rounds=_ROUNDS,
        seconds=_SECONDS,
        seed=42,
    )
    for name, found in compare_latency([rounds], reference=_REFERENCE, seed=42).items():
        low, high, p50 = found.ratio_low, found.ratio_high, found.latency.latency_ms_p50
        print(f"{name}: {found.ratio:.3f} ({low:.3f}–{high:.3f}), {p50:.1f} ms")
    print(f"drift of the reference: {rounds.drift:.1%}")


def _compile(network: nn.Module, image: Tensor) -> Network:
    del image
    compiled: Network = torch.compile(network)
    return compiled


def _pt2e(network: nn.Module, image: Tensor) -> Network:
    """Return PT2E's network, compiled to int8 kernels."""
    compiled: Network = torch.compile(_pt2e_uncompiled(network, image))
    return compiled


def _pt2e_uncompiled(network: nn.Module, image: Tensor) -> Any:
    """Return PT2E's network with ranges from the image: rounds, but multiplies in float."""
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    quantizer = x86.X86InductorQuantizer()
    quantizer.set_global(x86.get_default_x86_inductor_quantization_config())
    # The quantizer looks for notes that only the strict export makes.
    program = torch.export.export(network, (image,), strict=True)
    prepared = prepare_pt2e(program.module(check_guards=False), quantizer)
    with torch.no_grad():
        prepared(image)
    # The module itself would refuse to be put in evaluation mode, which it is in for good.
    return convert_pt2e(prepared).forward


_WAYS: dict[str, Callable[[nn.Module, Tensor], Network]] = {
    "int8, FX": lambda network, image: with_any_ranges(network, "x86", image),
    "fp32, compiled": _compile,
}
if find_spec("torchao") is not None:
    _WAYS |= {"int8, PT2E compiled": _pt2e, "int8, PT2E as it is": _pt2e_uncompiled}


if __name__ == "__main__":
    typer.run(main)
