"""Costs of one image: operations, memory, latency, throughput, energy."""

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
from harness.measure.memory import measure_peak_mb
from harness.measure.operations import (
    count_parameters,
    count_trainable_parameters,
    measure_operations,
)
from harness.measure.peak import measure_peak
from harness.measure.process_memory import measure_process_peak_mb
from harness.measure.throughput import filled, measure_throughput
from harness.measure.training_memory import measure_training_peak_mb
from harness.networks.adapter import NetworkAdapter, RoutedAdapter, adapt
from harness.records.parts import Energy, Latency, Memory, Operations, PathCosts, Throughput
from harness.run.count import count_path
from harness.training.optimizers import make_optimizer

logger = logging.getLogger(__name__)

_ALL_PATHS = "all"
_Reasons = dict[str, str | None]


@dataclass(frozen=True, kw_only=True)
class Costs:
    """The costs of one image, as the parts of a record of the same names.

    `not_measured` has reasons by the name of the figure that is None, or None for a figure that
    was measured.
    """

    latency: Latency
    throughput: Throughput
    memory: Memory
    operations: Operations
    energy: Energy
    not_measured: _Reasons
    paths: tuple[PathCosts, ...] = ()


def measure_costs(network: nn.Module, example: Tensor, job: Job) -> Costs:
    """Measure the costs of an image in a network where all images take the same layers.

    The network and the example, one image 1×C×H×W, are on the job's device.
    """
    logger.info("%s: operations and memory", job.cell)
    adapter = adapt(network)
    operations, reasons = _measure_operations(adapter, example)
    if adapter.has_deployed_form:
        operations = replace(operations, network_forms="latency: deployed; all else: trained")
    memory, no_memory = _measure_memory(adapter, example)
    training_mb, no_training = _measure_training_mb(adapter, example, job)
    logger.info("%s: latency, throughput, energy", job.cell)
    timed = _measure_latency({"network": adapter.deployed}, {"network": example}, job)["network"]
    throughput, no_share = _measure_throughput(network, example, operations.gflops, job, adapter)
    energy, no_energy = _measure_energy(network, example, throughput, job)
    reasons |= no_memory | {"peak_training_memory_mb": no_training} | no_share | no_energy
    return Costs(
        latency=Latency(**vars(timed)),
        throughput=throughput,
        memory=replace(memory, peak_training_memory_mb=training_mb),
        operations=operations,
        energy=energy,
        not_measured=reasons,
    )


def measure_routed_costs(
    adapter: RoutedAdapter, images: Tensor, predictions: Tensor, job: Job
) -> Costs:
    """Measure the costs of images that a network sends along different paths.

    Operations are the mean over the images, and peak memory is that of the path with the most
    operations. Latency is over single images in their order, and throughput over batches of them.
    Only paths that an image took are measured; the one with the fewest operations comes first.

    Args:
        adapter: Adapter of the network, which is on the job's device.
        images: Test images N×C×H×W, on that device.
        predictions: Predicted class of each image, int64 N, on the CPU.
        job: The cell.
    """
    logger.info("%s: operations, memory and latency of every path", job.cell)
    route, evaluation = adapter.routed.route, job.settings.evaluation
    with torch.autocast(job.cell.device, torch.bfloat16, enabled=evaluation.precision == "bf16"):
        taken = adapter.taken_paths(images, predictions, evaluation.batch_size)
    examples = {path.name: images[rows[:1]] for path, rows in taken}
    timed = _measure_latency(
        {**dict.fromkeys(examples, route), _ALL_PATHS: measured.in_turn(route, images)},
        {**examples, _ALL_PATHS: images[:1]},
        job,
    )
    paths = [
        PathCosts(
            **count_path(path, examples[path.name]),
            images=len(rows),
            latency_ms_p50=timed[path.name].latency_ms_p50,
        )
        for path, rows in taken
    ]
    paths.sort(key=lambda each: (each.gmacs, each.name))
    longest = next(path for path, _ in taken if path.name == paths[-1].name)
    memory, reasons = _measure_memory(adapt(longest.network), examples[longest.name])
    operations = _mean_operations(adapter, paths)
    throughput, no_share = _measure_throughput(route, images, operations.gflops, job, adapter)
    energy, no_energy = _measure_energy(route, images, throughput, job)
    return Costs(
        latency=Latency(**vars(timed[_ALL_PATHS])),
        throughput=throughput,
        memory=replace(memory, weights_mb=adapter.weights_mb),
        operations=operations,
        energy=energy,
        not_measured={
            **(reasons | no_share | no_energy),
            "peak_training_memory_mb": "it is trained in stages",
        },
        paths=tuple(paths),
    )


def _mean_operations(adapter: NetworkAdapter, paths: Sequence[PathCosts]) -> Operations:
    """Return the parameters of a routed network, and the mean operations of an image."""
    images = sum(path.images for path in paths)
    gmacs = sum(path.gmacs * path.images for path in paths) / images
    thop = [path.gmacs_thop * path.images for path in paths if path.gmacs_thop is not None]
    return replace(
        _count_sizes(adapter),
        gmacs=gmacs,
        gflops=2 * gmacs,
        gmacs_thop=sum(thop) / images if len(thop) == len(paths) else None,
    )


def _measure_operations(adapter: NetworkAdapter, example: Tensor) -> tuple[Operations, _Reasons]:
    sizes = _count_sizes(adapter)
    try:
        found = measure_operations(adapter.counted, example)
    except CellError as error:
        return sizes, dict.fromkeys(("gmacs", "gflops", "gmacs_thop"), str(error))
    operations = replace(sizes, gmacs=found.gmacs, gflops=found.gflops, gmacs_thop=found.gmacs_thop)
    return operations, dict(found.reasons)


def _count_sizes(adapter: NetworkAdapter) -> Operations:
    counted = adapter.counted
    # A quantized network is no longer trained; no layer of it was frozen before.
    trainable = count_parameters if adapter.precision else count_trainable_parameters
    return Operations(params=count_parameters(counted), params_trainable=trainable(counted))


def _measure_memory(adapter: NetworkAdapter, example: Tensor) -> tuple[Memory, _Reasons]:
    network, memory = adapter.network, Memory(weights_mb=adapter.weights_mb)
    try:
        peak_mb = measure_peak_mb(network, example, on_meta=adapter.runs_on_meta)
    except CellError as error:
        return memory, dict.fromkeys(("peak_memory_mb", "peak_process_mb"), str(error))
    process_mb: float | None = None
    reason: str | None = "CUDA's allocator is asked instead"
    if not adapter.runs_on_meta:
        reason = "its kernels cannot be handed to another process"
    elif not example.is_cuda:
        process_mb, reason = measure_process_peak_mb(network, example)
    memory = replace(memory, peak_memory_mb=peak_mb, peak_process_mb=process_mb)
    return memory, {"peak_process_mb": reason}


def _measure_training_mb(
    adapter: NetworkAdapter, example: Tensor, job: Job
) -> tuple[float | None, str | None]:
    """Return the peak memory of a training step, or None and the reason."""
    if adapter.precision:
        return None, f"a network in {adapter.precision} is not trained here"
    recipe = job.settings.pruning.training if job.settings.pruning else job.settings.training
    # The fused kernels take no tensors without data; their state is the same.
    usual = replace(recipe, fused_optimizer=False)
    images = min(recipe.batch_size, recipe.micro_batch_size or recipe.batch_size)
    try:
        return measure_training_peak_mb(
            adapter.network,
            example.expand(images, -1, -1, -1),
            make_optimizer=lambda trained: make_optimizer(nn.ParameterList(trained), usual),
        ), None
    except CellError as error:
        return None, str(error)


def _measure_latency(
    networks: dict[str, measured.Network], examples: dict[str, Tensor], job: Job
) -> dict[str, measured.Latency]:
    limits, seed = job.settings.measurement, job.settings.seed
    rounds, seconds = limits.latency_rounds, limits.latency_seconds
    return measured.measure_latency(networks, examples, rounds=rounds, seconds=seconds, seed=seed)


def _measure_throughput(
    network: measured.Network,
    images: Tensor,
    gflops: float | None,
    job: Job,
    adapter: NetworkAdapter,
) -> tuple[Throughput, _Reasons]:
    """Measure throughput, and say why it has no share of the peak, where it has none."""
    limits = job.settings.measurement
    sizes, seconds = limits.throughput_batch_sizes, limits.throughput_seconds
    found = measure_throughput(network, images, batch_sizes=sizes, seconds=seconds)
    peak = measure_peak(str(images.device)).gflops_per_s
    throughput = Throughput(
        throughput_images_per_s=found.images_per_s,
        throughput_batch_size=found.batch_size,
        throughput_peak_share=gflops and found.images_per_s * gflops / peak,
        peak_gflops_per_s=peak,
    )
    if not adapter.precision:
        return throughput, {}
    reason = f"the peak is that of fp32, not of {adapter.precision}"
    return replace(throughput, throughput_peak_share=None), {"throughput_peak_share": reason}


def _measure_energy(
    network: measured.Network, images: Tensor, throughput: Throughput, job: Job
) -> tuple[Energy, _Reasons]:
    """Measure energy at the batch size of the throughput, and cache use at batch 1."""
    seconds = job.settings.measurement.throughput_seconds
    batch = filled(images, throughput.throughput_batch_size or 1)
    joules, no_joules = measure_energy(network, batch, seconds=seconds)
    references, misses, no_cache = measure_cache(network, images[:1], seconds=seconds)
    reasons = {
        "energy_j_per_image": no_joules,
        "cache_references_per_image": no_cache,
        "cache_misses_per_image": no_cache,
    }
    energy = Energy(
        energy_j_per_image=joules,
        cache_references_per_image=references,
        cache_misses_per_image=misses,
    )
    return energy, reasons
