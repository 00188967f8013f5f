"""Accuracy pass: every test image once, through a copy of the network made for batches."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from harness.data.loading import ImageData
from harness.data.splits import Split, take_rows
from harness.errors import CellError
from harness.jobs import Job
from harness.measure.accuracy import Accuracy, evaluate
from harness.measure.networks import laid_out, meta_copy
from harness.measure.torchscript import trace
from harness.networks.adapter import Inference, NetworkAdapter, adapt
from harness.networks.build import make_preprocess
from harness.records import parts
from harness.settings_spec import Precision
from harness.spec import ModelSpec
from harness.util.error_text import describe_error
from harness.util.progress import bar

logger = logging.getLogger(__name__)

# Compiling takes seconds, which does not pay for a few batches.
_BATCHES_WORTH_COMPILING = 32
# Largest difference of logits, as a share of the largest logit, that rounding can explain.
_TOLERANCE = {"fp32": 1e-3, "bf16": 0.1}
_CHECKED_IMAGES = 512

Network = Callable[[Tensor], Tensor]


def measure_accuracy(
    network: nn.Module, job: Job, spec: ModelSpec, data: ImageData, *, compiles: bool = True
) -> tuple[Accuracy, parts.Accuracy]:
    """Run all test images through a network on the job's device, as fast as possible.

    Without `compiles`, the network is not compiled: TorchScript keeps the weights of every network
    that it compiled in memory until the process ends.

    Returns:
        The accuracy, and the record's part about it, which lacks the digests of the predictions.
    """
    logger.info("%s: accuracy on %d test images", job.cell, len(data.test))
    settings = job.settings.evaluation
    low_precision = settings.precision == "bf16"
    adapter = adapt(network)
    precision = adapter.precision or settings.precision
    with torch.autocast(job.cell.device, torch.bfloat16, enabled=low_precision):
        method, inference, forward = _fastest(adapter, job, spec, data.test, compiles=compiles)
        images = _batches(job, spec, data.test, f"{job.cell}, accuracy", inference.layout)
        start = time.perf_counter()
        accuracy = evaluate(forward, images, len(data.classes), inference.classify)
        seconds = time.perf_counter() - start
    check = _check_precision(adapter, job, spec, data, accuracy) if low_precision else {}
    return accuracy, parts.Accuracy(
        accuracy_top1=accuracy.accuracy_top1,
        accuracy_top1_low=accuracy.accuracy_top1_low,
        accuracy_top1_high=accuracy.accuracy_top1_high,
        accuracy_top5=accuracy.accuracy_top5,
        expected_calibration_error=accuracy.expected_calibration_error,
        n_test=accuracy.n_test,
        confusion_matrix=accuracy.confusion_matrix,
        accuracy_method=f"{method}; {precision}, batches of {settings.batch_size}",
        precision=precision,
        evaluation_images_per_s=len(data.test) / seconds,
        accuracy_fp32_check=check,
    )


def _batches(
    job: Job, spec: ModelSpec, split: Split, title: str, layout: torch.memory_format
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield a split's images, ready for the network and in its layout, and their labels."""
    preprocess, done = make_preprocess(job.settings, spec), 0
    with bar(title, len(split)) as report:
        for stored, labels in split.batches(None, job.settings.evaluation.batch_size):
            images = preprocess(stored.to(job.cell.device))
            yield laid_out(images, layout), labels
            done += len(labels)
            report(done, "")


def compile_for_batches(network: nn.Module, example: Tensor, precision: Precision) -> Network:
    """Return a network compiled for batches like one N×C×H×W, of which the last may be smaller.

    The network is in evaluation mode, in fp32, on the CPU, and the example in its layout. The
    autocast of the precision, if any, must be on.

    Raises:
        CellError: The network cannot be compiled, for instance because its path depends on values,
            or the compiled network gives other logits.
    """
    try:
        with torch.inference_mode():
            # The meta device has no values, so a network whose path depends on them fails.
            meta_copy(network)(example.to("meta"))
        compiled = _fixed_batch(trace(network, example, precision), example)
        with torch.inference_mode():
            logits = compiled(example.clone()).float()
            wanted = network(example.clone()).float()
    except Exception as error:  # torch 2.15: IndexError where a vector scales a linear layer
        raise CellError(describe_error(error)) from error
    difference = float((logits - wanted).abs().max() / wanted.abs().max().clamp_min(1e-9))
    if not difference <= _TOLERANCE[precision]:
        raise CellError(f"its logits would be off by {difference:.2g} of the largest")
    return compiled


def _fastest(
    adapter: NetworkAdapter, job: Job, spec: ModelSpec, split: Split, *, compiles: bool
) -> tuple[str, Inference, Network]:
    """Return how a network was made fast, in words, its copy, and the fastest form of that."""
    settings = job.settings.evaluation
    example, _ = next(_batches(job, spec, split, "", torch.contiguous_format))
    copied = adapter.for_inference(example)
    if copied.method:
        return copied.method, copied, copied.forward
    enough = len(split) >= _BATCHES_WORTH_COMPILING * settings.batch_size
    if compiles and enough and job.cell.device == "cpu":
        example = laid_out(example, copied.layout)
        try:
            compiled = compile_for_batches(copied.forward, example, settings.precision)
        except CellError as error:
            logger.info("%s: not compiled: %s", job.cell, error)
        else:
            return f"TorchScript with oneDNN Graph, {copied.layout_name}", copied, compiled
    return f"eager, {copied.layout_name}", copied, copied.forward


def _fixed_batch(network: nn.Module, example: Tensor) -> Network:
    """Make a network that was compiled for batches like one take smaller ones as well."""
    size = len(example)

    def run(images: Tensor) -> Tensor:
        count = len(images)
        if count < size:
            images = torch.cat([images, images[:1].expand(size - count, -1, -1, -1)])
            images = torch.empty_like(example).copy_(images)
        with torch.autocast("cpu", enabled=False):
            logits: Tensor = network(images)
        return logits[:count]

    return run


def _check_precision(
    adapter: NetworkAdapter, job: Job, spec: ModelSpec, data: ImageData, accuracy: Accuracy
) -> dict[str, Any]:
    """Classify some test images in fp32 as well, and compare that with the low precision."""
    generator = torch.Generator().manual_seed(job.settings.seed)
    rows = torch.randperm(len(data.test), generator=generator)[:_CHECKED_IMAGES]
    some = take_rows(data.test, rows)
    copied = adapter.for_inference(next(_batches(job, spec, some, "", torch.contiguous_format))[0])
    images = _batches(job, spec, some, f"{job.cell}, fp32 check", copied.layout)
    exact = evaluate(copied.forward, images, len(data.classes), copied.classify)
    low = torch.from_numpy(accuracy.predictions.astype("int64"))[rows]
    accuracy_low = 100 * float((low == some.labels).double().mean())
    return {
        "images": len(rows),
        "accuracy_fp32": exact.accuracy_top1,
        f"accuracy_{job.settings.evaluation.precision}": accuracy_low,
        "changed": int((low.numpy() != exact.predictions).sum()),
    }
