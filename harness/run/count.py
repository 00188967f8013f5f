"""Counted costs: operations and bytes of a model at the shape of a data set, without images."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor, nn

from harness.catalog import load_model
from harness.errors import CellError, RequestError
from harness.jobs import Job
from harness.measure.environment import describe_environment
from harness.measure.memory import measure_file_mb, measure_peak_mb
from harness.measure.networks import copy_network
from harness.measure.operations import count_macs, count_parameters, measure_operations
from harness.networks.adapter import NetworkAdapter, adapt
from harness.networks.build import build_network
from harness.records.cost import CostPath, CostRecord
from harness.registry import load_dataset, model_code
from harness.run.provenance import make_provenance
from harness.run.provision import read_published
from harness.spec import DatasetSpec, ModelSpec, NetworkPath, shape_is_trained

_OPERATIONS = ("gmacs", "gflops", "gmacs_thop")


def count_costs(job: Job) -> CostRecord:
    """Count the costs of a job's model and return the record, which is not written yet.

    A RequestError says that its shape is a result of training and none was published, a CellError
    that its operations cannot be counted.
    """
    started = datetime.now(UTC)
    spec, dataset = load_model(job.cell.model), load_dataset(job.cell.dataset)
    network, origin = _build(job, spec, dataset)
    size = spec.input_size(job.settings)
    image = torch.zeros(1, dataset.channels, size, size)
    adapter = adapt(network)
    counted = _count_paths(adapter, image) if adapter.paths else _count_whole(adapter, image)
    environment = describe_environment("cpu")
    return CostRecord(
        dataset=job.cell.dataset,
        model=job.cell.model,
        label=spec.title(job.settings),
        variant="published" if _is_published_form(job, spec) else "",
        image_size=size,
        channels=dataset.channels,
        classes=len(dataset.classes),
        weights_origin=origin,
        params=count_parameters(adapter.counted),
        weights_mb=adapter.weights_mb,
        file_mb=measure_file_mb(network),
        **counted,
        code_digest=model_code(job.cell.model),
        provenance=make_provenance(environment, started, job.command),
    )


def _build(job: Job, spec: ModelSpec, dataset: DatasetSpec) -> tuple[nn.Module, str]:
    """Return a network with arbitrary weights, or the published one, and the weights' origin."""
    classes, channels = len(dataset.classes), dataset.channels
    if spec.published_form is not None and _is_published_form(job, spec):
        network = spec.build(classes, channels, False)
        return spec.published_form(network, lambda: read_published(job, spec)[0]).eval(), "random"
    if shape_is_trained(spec):
        if spec.load_published is None:
            raise RequestError(f"{spec.label} gets its shape in training, and none was published")
        network, _ = spec.load_published(job, classes)
        return network.eval(), "published"
    if spec.compress is not None:
        network = build_network(spec, job.settings, classes, channels)
        return spec.compress(network.eval(), job.settings, channels), "random"
    with torch.device("meta"):
        network = build_network(spec, job.settings, classes, channels)
    return network.to_empty(device="cpu").eval(), "random"


def _is_published_form(job: Job, spec: ModelSpec) -> bool:
    return job.settings.weights == "published" and spec.published_form is not None


def _count_whole(adapter: NetworkAdapter, image: Tensor) -> dict[str, Any]:
    operations = measure_operations(adapter.counted, image)
    return {
        **{name: getattr(operations, name) for name in _OPERATIONS},
        "peak_memory_mb": measure_peak_mb(adapter.network, image, on_meta=adapter.runs_on_meta),
        "not_measured": dict(operations.reasons),
    }


def _count_paths(adapter: NetworkAdapter, image: Tensor) -> dict[str, Any]:
    """Count every path; a mean over images is not known, because there are no images."""
    counted = [
        CostPath(
            **count_path(path, image),
            file_mb=measure_file_mb(path.network),
            gmacs_unpadded=_count_unpadded(path.network, image),
        )
        for path in adapter.paths
    ]
    counted.sort(key=lambda each: each.gmacs)
    longest = next(path for path in adapter.paths if path.name == counted[-1].name)
    return {
        "paths": tuple(counted),
        "peak_memory_mb": measure_peak_mb(longest.network, image),
        "not_measured": dict.fromkeys(_OPERATIONS, "it depends on the image's path"),
    }


def count_path(path: NetworkPath, image: Tensor) -> dict[str, Any]:
    """Return the fields that `CostPath` and `harness.records.parts.PathCosts` have in common.

    A CellError says that operations cannot be counted.
    """
    adapter = adapt(path.network)
    operations = measure_operations(adapter.counted, image)
    if operations.gmacs is None:
        raise CellError(f"path {path.name}: {operations.reasons['gmacs']}")
    return {
        "name": path.name,
        "classes": len(path.classes),
        "params": count_parameters(adapter.counted),
        "weights_mb": adapter.weights_mb,
        "gmacs": operations.gmacs,
        "gmacs_thop": operations.gmacs_thop,
    }


def _count_unpadded(network: nn.Module, image: Tensor) -> float | None:
    """Return 10^9 multiply-accumulates without padding of 1×1 convolutions; None without any."""
    # Such padding adds only the bias around the image, and its computation.
    copied, found = copy_network(network), False
    for part in copied.modules():
        if isinstance(part, nn.Conv2d) and part.kernel_size == (1, 1) and any(part.padding):
            part.padding, found = (0, 0), True
    return count_macs(copied, image) / 1e9 if found else None
