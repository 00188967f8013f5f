"""The costs of one image: operations, memory, latency, throughput, energy."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from harness.errors import CellError
from harness.jobs import Job
from harness.measure import latency as measured
from harness.measure.counters import measure_cache
from harness.measure.energy import measure_energy
from harness.measure.memory import measure_peak_memory, measure_weights_mb
from harness.measure.operations import (
    count_parameters,
    count_trainable_parameters,
    measure_operations,
)
from harness.measure.peak import measure_peak
from harness.measure.throughput import filled, measure_throughput
from harness.measure.training_memory import measure_training_peak
from harness.networks.adapter import NetworkAdapter, RoutedAdapter, adapt
from harness.records.parts import Energy, Latency, Memory, Operations, PathCosts, Throughput
from harness.spec import NetworkPath
from harness.training.optimizers import make_optimizer

logger = logging.getLogger(__name__)

_ALL_PATHS = "all"
_Reasons = dict[str, str | None]


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What one image costs, as parts of a record.

    Attributes:
        latency: The time of one image.
        throughput: The speed in batches.
        memory: Memory of weights and activations.
        operations: Parameters and arithmetic.
        energy: Energy and cache use.
        not_measured: Reasons, by the name of the field that is None.
        paths: The costs of each path through a routed network, cheapest first.
    """

    latency: Latency
    throughput: Throughput
    memory: Memory
    operations: Operations
    energy: Energy
    not_measured: _Reasons
    paths: tuple[PathCosts, ...] = ()


def measure_costs(network: nn.Module, example: Tensor, job: Job) -> Costs:
    """Measure what any image costs in a network that treats all alike.

    Args:
        network: On the job's device.
        example: One image, 1×C×H×W, there.
        job: Says how long and how often.
    """
    logger.info("%s: operations and memory", job.cell)
    adapter = adapt(network)
    operations, no_operations = _measure_operations(adapter, example)
    memory, no_memory = _measure_memory(adapter, example)
    training, no_training = _measure_training_memory(adapter, example, job)
    logger.info("%s: latency, throughput, energy", job.cell)
    timed = _measure_latency({"network": network}, {"network": example}, job)["network"]
    throughput = _measure_throughput(network, example, operations.gflops, job)
    energy, no_energy = _measure_energy(network, example, throughput, job)
    reasons = no_operations | no_memory | no_training | no_energy
    if adapter.precision:
        throughput = replace(throughput, throughput_peak_share=None)
        reasons["throughput_peak_share"] = f"the peak is that of fp32, not of {adapter.precision}"
    return Costs(
        latency=_describe_latency(timed),
        throughput=throughput,
        memory=replace(memory, peak_training_memory_mb=training),
        operations=operations,
        energy=energy,
        not_measured=reasons,
    )


def measure_routed_costs(
    adapter: RoutedAdapter, images: Tensor, predictions: Tensor, job: Job
) -> Costs:
    """Measure what images cost that a network sends different ways.

    Operations are the mean over the images; peak memory is that of the path with most of them;
    latency is over images one by one, and throughput over batches of them, in their own order.
    The paths are those that an image took, the one with fewest operations first.

    Args:
        adapter: Of the network, on the job's device.
        images: Test images N×C×H×W, there.
        predictions: The class that each of them was sent to, int64 N, on the CPU.
        job: Says how long and how often.
    """
    logger.info("%s: operations, memory and latency of every path", job.cell)
    route = adapter.routed.route
    rows = {path.name: _rows(path, predictions) for path in adapter.paths}
    examples = {name: images[chosen[:1]] for name, chosen in rows.items() if len(chosen)}
    timed = _measure_route(route, examples, images, job)
    taken = [path for path in adapter.paths if path.name in examples]
    paths = sorted(
        (
            _measure_path(path, examples[path.name], len(rows[path.name]), timed[path.name])
            for path in taken
        ),
        key=lambda each: (each.gmacs, each.name),
    )
    longest = next(path for path in taken if path.name == paths[-1].name)
    memory, reasons = _measure_memory(adapt(longest.network), examples[longest.name])
    operations = _mean_operations(adapter.network, paths)
    throughput = _measure_throughput(route, images, operations.gflops, job)
    energy, no_energy = _measure_energy(route, images, throughput, job)
    reasons |= no_energy | {"peak_training_memory_mb": "it is trained in stages"}
    return Costs(
        latency=_describe_latency(timed[_ALL_PATHS]),
        throughput=throughput,
        memory=replace(memory, weights_mb=adapter.weights_mb),
        operations=operations,
        energy=energy,
        not_measured=reasons,
        paths=tuple(paths),
    )


def _rows(path: NetworkPath, predictions: Tensor) -> Tensor:
    return torch.isin(predictions, torch.tensor(path.classes)).nonzero()[:, 0]


def _measure_path(
    path: NetworkPath, example: Tensor, images: int, timed: measured.Latency
) -> PathCosts:
    operations = measure_operations(path.network, example)
    return PathCosts(
        name=path.name,
        classes=len(path.classes),
        params=count_parameters(path.network),
        weights_mb=measure_weights_mb(path.network),
        gmacs=operations.gmacs,
        gmacs_thop=operations.gmacs_thop,
        images=images,
        latency_ms_p50=timed.latency_ms_p50,
    )


def _measure_route(
    route: measured.Network, examples: dict[str, Tensor], images: Tensor, job: Job
) -> dict[str, measured.Latency]:
    """Time an image of every path, and images one after the other, in the same rounds."""
    networks: dict[str, measured.Network] = dict.fromkeys(examples, route)
    networks[_ALL_PATHS] = measured.in_turn(route, images)
    return _measure_latency(networks, {**examples, _ALL_PATHS: images[:1]}, job)


def _mean_operations(network: nn.Module, paths: Sequence[PathCosts]) -> Operations:
    """Return the parameters of a routed network, and the operations of the mean image."""
    images = sum(path.images for path in paths)
    gmacs = sum(path.gmacs * path.images for path in paths) / images
    thop = [(path.gmacs_thop, path.images) for path in paths if path.gmacs_thop is not None]
    known = len(thop) == len(paths)
    return Operations(
        params=count_parameters(network),
        params_trainable=count_trainable_parameters(network),
        gmacs=gmacs,
        gflops=2 * gmacs,
        gmacs_thop=sum(count * n for count, n in thop) / images if known else None,
    )


def _measure_operations(adapter: NetworkAdapter, example: Tensor) -> tuple[Operations, _Reasons]:
    counted = adapter.counted
    # A quantized network is not trained any more; before, none of it was frozen.
    trainable = count_parameters if adapter.precision else count_trainable_parameters
    sizes = Operations(params=count_parameters(counted), params_trainable=trainable(counted))
    try:
        found = measure_operations(counted, example)
    except CellError as error:
        return sizes, dict.fromkeys(("gmacs", "gflops", "gmacs_thop"), str(error))
    operations = replace(sizes, gmacs=found.gmacs, gflops=found.gflops, gmacs_thop=found.gmacs_thop)
    return operations, {"gmacs_thop": found.gmacs_thop_reason}


def _measure_memory(adapter: NetworkAdapter, example: Tensor) -> tuple[Memory, _Reasons]:
    weights = Memory(weights_mb=adapter.weights_mb)
    try:
        found = measure_peak_memory(adapter.network, example, on_meta=adapter.runs_on_meta)
    except CellError as error:
        return weights, dict.fromkeys(("peak_memory_mb", "peak_process_mb"), str(error))
    memory = replace(
        weights,
        peak_memory_mb=found.peak_memory_mb,
        peak_process_mb=found.peak_process_mb,
    )
    return memory, {"peak_process_mb": found.peak_process_reason}


def _measure_latency(
    networks: dict[str, measured.Network], examples: dict[str, Tensor], job: Job
) -> dict[str, measured.Latency]:
    limits = job.settings.measurement
    return measured.measure_latency(
        networks,
        examples,
        rounds=limits.latency_rounds,
        seconds=limits.latency_seconds,
        seed=job.settings.seed,
    )


def _describe_latency(latency: measured.Latency) -> Latency:
    return Latency(
        latency_ms_p05=latency.latency_ms_p05,
        latency_ms_p50=latency.latency_ms_p50,
        latency_ms_p95=latency.latency_ms_p95,
        latency_ms_p99=latency.latency_ms_p99,
        latency_rounds=latency.rounds,
    )


def _measure_training_memory(
    adapter: NetworkAdapter, example: Tensor, job: Job
) -> tuple[float | None, _Reasons]:
    name = "peak_training_memory_mb"
    if adapter.precision:
        return None, {name: f"a network in {adapter.precision} is not trained here"}
    recipe = job.settings.pruning.training if job.settings.pruning else job.settings.training
    try:
        memory = measure_training_peak(
            adapter.network,
            example.expand(recipe.batch_size, -1, -1, -1),
            make_optimizer=lambda trained: make_optimizer(nn.ParameterList(trained), recipe),
        )
    except CellError as error:
        return None, {name: str(error)}
    return memory.peak_training_memory_mb, {}


def _measure_throughput(
    network: measured.Network, images: Tensor, gflops: float | None, job: Job
) -> Throughput:
    limits = job.settings.measurement
    throughput = measure_throughput(
        network,
        images,
        batch_sizes=limits.throughput_batch_sizes,
        seconds=limits.throughput_seconds,
    )
    peak, rate = measure_peak(str(images.device)), throughput.images_per_s
    return Throughput(
        throughput_images_per_s=rate,
        throughput_batch_size=throughput.batch_size,
        throughput_peak_share=gflops and rate * gflops / peak.gflops_per_s,
        peak_gflops_per_s=peak.gflops_per_s,
    )


def _measure_energy(
    network: measured.Network, images: Tensor, throughput: Throughput, job: Job
) -> tuple[Energy, _Reasons]:
    """Measure energy at the batch size of the throughput, and cache use at batch 1."""
    seconds = job.settings.measurement.throughput_seconds
    batch = filled(images, throughput.throughput_batch_size or 1)
    energy = measure_energy(network, batch, seconds=seconds)
    cache = measure_cache(network, images[:1], seconds=seconds)
    found = Energy(
        energy_j_per_image=energy.energy_j_per_image,
        cache_references_per_image=cache.cache_references_per_image,
        cache_misses_per_image=cache.cache_misses_per_image,
    )
    return found, {
        "energy_j_per_image": energy.energy_reason,
        "cache_references_per_image": cache.cache_reason,
        "cache_misses_per_image": cache.cache_reason,
    }
