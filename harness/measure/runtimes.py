"""Deployment runtimes that run the same fp32 network.

A prepared network is called like the original, so that runtimes can be timed side by side in one
process. No runtime keeps a thread busy after a call, and each uses as many threads as torch.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, replace
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from harness.errors import CellError, RequestError, unknown_name
from harness.measure.networks import own_inputs, relative_difference
from harness.measure.routed_onnx import Decisions, export_routed
from harness.measure.runtime_builders import BUILDERS, FROM_ONNX, LIBRARIES, Built
from harness.util.error_text import describe_error
from harness.util.quiet import quiet

RUNTIMES = tuple(BUILDERS)
ROUTED_RUNTIMES = tuple(FROM_ONNX)
MAX_DIFFERENCE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Prepared(Built):
    """A network in a runtime, and the `relative_difference` of its logits from eager's."""

    max_difference: float


def prepare(network: nn.Module, example: Tensor, runtime: str) -> Prepared:
    """Make a network ready in a runtime, and compare its logits for the example with eager's.

    Args:
        network: fp32, returning logits. It is put in evaluation mode; neither the mode nor the
            weights may change while the result is in use.
        example: 1×C×H×W, fp32, on the network's device. Other shapes may be refused later.
        runtime: A name in `RUNTIMES`.

    Raises:
        RequestError: Unknown runtime, missing library, or a device that it cannot use.
        CellError: The runtime cannot run the network, or its logits differ by more than
            `MAX_DIFFERENCE`.
    """
    if runtime not in RUNTIMES:
        raise unknown_name("runtime", runtime, RUNTIMES)
    require_libraries(runtime)
    network.eval()
    with torch.inference_mode(), quiet():
        expected = network(example.clone())
        try:
            built = BUILDERS[runtime](network, example.clone())
            logits = built.call(example.clone()).cpu()
            built = replace(built, call=own_inputs(built.call, example))
        except RequestError:
            raise
        except Exception as error:
            raise CellError(f"runtime {runtime} failed: {_describe_cause(error)}") from error
    difference = _checked_difference(logits, expected.cpu(), runtime)
    return Prepared(**vars(built), max_difference=difference)


def prepare_routed(decisions: Decisions, images: Tensor, classes: Tensor, runtime: str) -> Built:
    """Make a routed network ready in a runtime, for one image 1×C×H×W, whose class is returned.

    Args:
        decisions: The networks of `DecidingNetwork.decisions`, fp32 and in evaluation mode.
        images: Images N×C×H×W, fp32, on the networks' device.
        classes: The class, int64 N, that each of them must be given.
        runtime: A name in `ROUTED_RUNTIMES`.

    Raises:
        RequestError: A missing library, or a device that the runtime cannot use.
        CellError: The runtime cannot run the network, or gives an image another class.
    """
    require_libraries(runtime)
    with torch.inference_mode(), quiet():
        try:
            built = FROM_ONNX[runtime](export_routed(decisions, images[:1]), images[:1])
            found = torch.cat([built.call(image).cpu() for image in torch.split(images, 1)])
        except RequestError:
            raise
        except Exception as error:
            raise CellError(f"runtime {runtime} failed: {_describe_cause(error)}") from error
    if others := int((found != classes.cpu()).sum()):
        raise CellError(f"runtime {runtime}: {others} of {len(images)} images get another class")
    return built


def require_libraries(runtime: str) -> None:
    """Raise RequestError if a library that a runtime needs is missing."""
    missing = [name for name in LIBRARIES.get(runtime, ()) if find_spec(name) is None]
    if missing:
        raise RequestError(
            f"runtime {runtime} needs {', '.join(missing)}: uv sync --extra {runtime}, "
            f"or pip install {' '.join(missing)} (versions in pyproject.toml)"
        )


def _describe_cause(error: Exception) -> str:
    """Return the first cause of an error, which exporters wrap in a page of advice."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    return textwrap.shorten(describe_error(error), 300)


def _checked_difference(logits: Tensor, expected: Tensor, runtime: str) -> float:
    """Return the relative difference; raise CellError if it is too large or NaN."""
    if logits.shape != expected.shape:
        raise CellError(
            f"runtime {runtime}: logits {tuple(logits.shape)}, not {tuple(expected.shape)}"
        )
    difference = relative_difference(logits, expected)
    if not difference <= MAX_DIFFERENCE:
        raise CellError(
            f"runtime {runtime}: logits differ from eager's by {difference:.2g} of the largest, "
            f"more than {MAX_DIFFERENCE:g}"
        )
    return difference
