"""What a network returns, and whether it can be trained and evaluated, found out beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness.errors import RequestError
from harness.util.error_text import describe_error

WANTED = "build must return a network of N×K logits"
# A network that keeps a part of the graph of the first step fails in the second.
STEPS = 2


def take_logits(_module: nn.Module, _inputs: object, output: Any) -> Any:
    """Return the logits of an output that holds more, as a forward hook of a network.

    These are the `logits` of transformers' `ModelOutput`, and of the tuples that torchvision's
    networks with auxiliary heads return in training mode.
    """
    named = not isinstance(output, Tensor) and isinstance(getattr(output, "logits", None), Tensor)
    return output.logits if named else output


def check_logits(
    output: Any, images: Tensor, num_classes: int, mode: str, steps: int = 0
) -> Tensor:
    """Return the output of a network for images N×C×H×W if it is logits.

    `mode` and `steps`, the training steps that came before, are for the message.

    Raises:
        RequestError: The output is something else; it says what came out and what is wanted.
    """
    if not isinstance(output, Tensor):
        wrong = f": {WANTED}{_which(output)}"
    elif output.ndim != 2 or len(output) != len(images):
        flat = output.ndim > 2 and output.shape[1:].numel() == output.shape[1]
        wrong = f": {WANTED}{'; flatten(1) it' if flat and len(output) == len(images) else ''}"
    elif output.shape[1] < num_classes:
        wrong = f": {WANTED}, K ≥ {num_classes} classes"
    elif not output.is_floating_point():
        wrong = f" of type {output.dtype}: {WANTED}, floating-point numbers"
    elif output.is_meta or output.isfinite().all():
        return output
    elif steps:
        wrong = (
            f" that are not finite after {steps} training step(s): lower training.learning_rate or "
            "set training.max_gradient_norm"
        )
    else:
        wrong = f" that are not finite, before any training: {WANTED}"
    shape = _describe(output)
    raise RequestError(f"in {mode} mode it returns {shape} for {len(images)} images{wrong}")


def try_training(
    network: nn.Module,
    images: Tensor,
    num_classes: int,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Take two training steps on images N×C×H×W; no weight is changed without an optimizer.

    Raises:
        RequestError: The network returns no logits, or nothing in it can be trained.
        Exception: The network cannot be trained on these images.
    """
    labels = torch.arange(len(images), device=images.device) % num_classes
    network.train()
    for step in range(STEPS):
        network.zero_grad()
        logits = check_logits(network(images.clone()), images, num_classes, "training", step)
        loss = cross_entropy(logits.float(), labels)
        if not loss.requires_grad:
            raise RequestError("no parameter that its logits depend on can be trained")
        loss.backward()  # type: ignore[no-untyped-call]
        if optimizer is not None:
            optimizer.step()


def describe_failure(error: Exception, what: str, images: Tensor) -> RequestError:
    """Return the error that says at which images a network failed in what it was tried with."""
    reason = str(error) if isinstance(error, RequestError) else describe_error(error)
    shape = "×".join(map(str, images.shape))
    return RequestError(f"{what} on {shape} numbers: {reason}")


def _describe(output: Any) -> str:
    if isinstance(output, Tensor):
        return "×".join(map(str, output.shape)) or "a single number"
    name = f"a {type(output).__name__}"
    if isinstance(output, Mapping):
        return f"{name} ({', '.join(map(str, output))})"
    if isinstance(output, (tuple, list)):
        return f"{name} ({', '.join(map(_describe, output))})"
    return name


def _which(output: Any) -> str:
    """Return which part of an output is likely to be meant."""
    if isinstance(output, Mapping):
        keys = [key for key, value in output.items() if isinstance(value, Tensor)]
        best = sorted(keys, key=lambda key: key not in ("logits", "out"))
        return f", such as its ['{best[0]}']" if best else ""
    return ", such as its [0]" if isinstance(output, (tuple, list)) else ""
