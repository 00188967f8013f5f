"""Deployment runtimes: the same fp32 network, made ready by what would run it in the field.

Whatever is prepared here is called like the network itself, so that runtimes are candidates like
any other: live in one process, leave no thread busy after a call, and use as many threads as torch.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from importlib.util import find_spec
from time import perf_counter

import torch
from torch import Tensor, nn

from harness.errors import CellError, RequestError, unknown_name
from harness.measure.runtime_builders import BUILDERS, LIBRARIES, Call
from harness.util.error_text import describe_error
from harness.util.quiet import quiet

RUNTIMES = tuple(BUILDERS)
MAX_DIFFERENCE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A network as a runtime runs it.

    Attributes:
        call: Maps images like the example to logits, under `torch.inference_mode`.
        runtime: One of `RUNTIMES`.
        version: Of the library.
        method: The options that matter.
        seconds: From the network to the first logits: conversion, compilation, first call.
        max_difference: The largest absolute difference from eager's logits for the example, over
            eager's largest absolute logit.
    """

    call: Call
    runtime: str
    version: str
    method: str
    seconds: float
    max_difference: float


def prepare(network: nn.Module, example: Tensor, runtime: str) -> Prepared:
    """Make a network ready in a runtime, and check its logits for the example against eager's.

    Args:
        network: fp32, returning logits. It is put in evaluation mode, and neither that nor its
            weights may change while the result is in use.
        example: 1×C×H×W, fp32, on the network's device. Other shapes may be refused later.
        runtime: One of `RUNTIMES`.

    Raises:
        RequestError: Unknown runtime, a library that is missing, or a device it cannot use.
        CellError: The runtime cannot take the network, or its logits differ by more than
            `MAX_DIFFERENCE`.
    """
    if runtime not in RUNTIMES:
        raise unknown_name("runtime", runtime, RUNTIMES)
    require_libraries(runtime)
    network.eval()
    with torch.inference_mode(), quiet():
        expected = network(example)
        begin = perf_counter()
        try:
            built = BUILDERS[runtime](network, example)
            # Brought to the CPU, which also waits for a GPU.
            logits = built.call(example).cpu()
        except RequestError:
            raise
        except Exception as error:
            raise CellError(f"runtime {runtime} failed: {_describe_cause(error)}") from error
        seconds = perf_counter() - begin
    return Prepared(
        call=built.call,
        runtime=runtime,
        version=built.version,
        method=built.method,
        seconds=seconds,
        max_difference=_checked_difference(logits, expected.cpu(), runtime),
    )


def require_libraries(runtime: str) -> None:
    """Make sure that a runtime is installed.

    Raises:
        RequestError: A library that it needs is missing.
    """
    missing = [name for name in LIBRARIES.get(runtime, ()) if find_spec(name) is None]
    if missing:
        raise RequestError(
            f"runtime {runtime} needs {', '.join(missing)}: uv sync --extra {runtime}, "
            f"or pip install {' '.join(missing)} (versions in pyproject.toml)"
        )


def _describe_cause(error: Exception) -> str:
    """Return what went wrong first: exporters wrap it in a page of advice."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    return textwrap.shorten(describe_error(error), 300)


def _checked_difference(logits: Tensor, expected: Tensor, runtime: str) -> float:
    """Return the relative difference; raise CellError if it is too large or not a number."""
    if logits.shape != expected.shape:
        raise CellError(
            f"runtime {runtime}: logits {tuple(logits.shape)}, not {tuple(expected.shape)}"
        )
    scale = expected.abs().max().clamp_min(torch.finfo(expected.dtype).tiny)
    difference = float((logits - expected).abs().max() / scale)
    if not difference <= MAX_DIFFERENCE:
        raise CellError(
            f"runtime {runtime}: logits differ from eager's by {difference:.2g} of the largest, "
            f"more than {MAX_DIFFERENCE:g}"
        )
    return difference
