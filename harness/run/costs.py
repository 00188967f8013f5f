"""What one image costs: operations, memory, latency, throughput, as fields of a record."""

from __future__ import annotations

import logging
from typing import Any, cast

import torch
from torch import Tensor, nn

from harness.errors import CellError
from harness.jobs import Job
from harness.measure.counters import measure_cache
from harness.measure.energy import measure_energy
from harness.measure.latency import Latency, Network, in_turn, measure_latency
from harness.measure.memory import measure_peak_memory, measure_weights_mb, stored_mb
from harness.measure.operations import (
    count_parameters,
    count_trainable_parameters,
    measure_operations,
)
from harness.measure.peak import measure_peak
from harness.measure.throughput import filled, measure_throughput
from harness.measure.training_memory import measure_training_peak
from harness.networks.build import counted_network
from harness.spec import ConvertedNetwork, NetworkPath, RoutedNetwork
from harness.training.optimizers import make_optimizer

logger = logging.getLogger(__name__)

Fields = dict[str, Any]
Reasons = dict[str, str | None]

_ALL_PATHS = "all"


def measure_costs(network: nn.Module, example: Tensor, job: Job) -> tuple[Fields, Reasons]:
    """Measure what any image costs in a network that treats all alike.

    Args:
        network: On the job's device.
        example: One image, 1×C×H×W, there.
        job: Says how long and how often.

    Returns:
        The fields, and why any of them is None.
    """
    logger.info("%s: operations and memory", job.cell)
    counted = counted_network(network)
    # A converted network has nothing to train any more: before, none of it was frozen.
    trainable = (
        count_trainable_parameters(network) if counted is network else count_parameters(counted)
    )
    operations, no_operations = _measure_operations(counted, example)
    memory, no_memory = _measure_memory(network, example)
    training, no_training = _measure_training_memory(network, example, job)
    logger.info("%s: latency, throughput, energy", job.cell)
    latency = _measure_latency({"network": network}, {"network": example}, job)["network"]
    speed, no_speed = _measure_speed(network, example, operations.get("gflops"), job)
    if isinstance(network, ConvertedNetwork):
        speed["throughput_peak_share"] = None
        no_speed["throughput_peak_share"] = f"the peak is that of fp32, not of {network.precision}"
    fields = {
        "params": count_parameters(counted),
        "params_trainable": trainable,
        **operations,
        **memory,
        **training,
        **_describe_latency(latency),
        **speed,
    }
    return fields, no_operations | no_memory | no_training | no_speed


def measure_routed_costs(
    network: RoutedNetwork, images: Tensor, predictions: Tensor, job: Job
) -> tuple[Fields, Reasons]:
    """Measure what images cost that a network sends different ways.

    Operations are the mean over the images; peak memory is that of the path with most of them;
    latency is over images one by one, and throughput over batches of them, in their own order.
    `paths` has the cost of every path that an image took, the one with fewest operations first.

    Args:
        network: On the job's device.
        images: Test images N×C×H×W, there.
        predictions: The class that each of them was sent to, int64 N, on the CPU.
        job: Says how long and how often.

    Returns:
        The fields, and why any of them is None.
    """
    logger.info("%s: operations, memory and latency of every path", job.cell)
    rows = {path.name: _rows(path, predictions) for path in network.paths()}
    examples = {name: images[chosen[:1]] for name, chosen in rows.items() if len(chosen)}
    latencies = _measure_route(network, examples, images, job)
    costs = [
        _measure_path(path, examples[path.name])
        | {
            "images": len(rows[path.name]),
            "latency_ms_p50": latencies[path.name].latency_ms_p50,
        }
        for path in network.paths()
        if path.name in examples
    ]
    costs.sort(key=lambda cost: (cost["gmacs"], cost["name"]))
    longest = next(path for path in network.paths() if path.name == costs[-1]["name"])
    memory, reasons = _measure_memory(longest.network, examples[longest.name])
    whole, operations = cast("nn.Module", network), _mean_operations(costs)
    speed, no_speed = _measure_speed(network.route, images, operations["gflops"], job)
    fields = {
        **memory,
        "params": count_parameters(whole),
        "params_trainable": count_trainable_parameters(whole),
        "weights_mb": measure_weights_mb(whole),
        **operations,
        "paths": costs,
        **_describe_latency(latencies[_ALL_PATHS]),
        **speed,
    }
    return fields, reasons | no_speed | {"peak_training_memory_mb": "it is trained in stages"}


def _rows(path: NetworkPath, predictions: Tensor) -> Tensor:
    return torch.isin(predictions, torch.tensor(path.classes)).nonzero()[:, 0]


def _measure_path(path: NetworkPath, example: Tensor) -> Fields:
    operations = measure_operations(path.network, example)
    return {
        "name": path.name,
        "classes": len(path.classes),
        "params": count_parameters(path.network),
        "weights_mb": measure_weights_mb(path.network),
        "gmacs": operations.gmacs,
        "gmacs_thop": operations.gmacs_thop,
    }


def _measure_route(
    network: RoutedNetwork, examples: dict[str, Tensor], images: Tensor, job: Job
) -> dict[str, Latency]:
    """Time an image of every path, and images one after the other, in the same rounds."""
    networks: dict[str, Network] = dict.fromkeys(examples, network.route)
    networks[_ALL_PATHS] = in_turn(network.route, images)
    return _measure_latency(networks, {**examples, _ALL_PATHS: images[:1]}, job)


def _mean_operations(costs: list[Fields]) -> Fields:
    """Return the operations of the mean image."""
    images = [cost["images"] for cost in costs]
    means: Fields = {}
    for name in ("gmacs", "gmacs_thop"):
        counts = [cost[name] for cost in costs]
        known = None not in counts
        total = sum(n * each for n, each in zip(images, counts, strict=True)) if known else None
        means[name] = None if total is None else total / sum(images)
    return means | {"gflops": 2 * means["gmacs"]}


def _measure_operations(network: nn.Module, example: Tensor) -> tuple[Fields, Reasons]:
    names = ("gmacs", "gflops", "gmacs_thop")
    try:
        operations = measure_operations(network, example)
    except CellError as error:
        return {}, dict.fromkeys(names, str(error))
    fields = {name: getattr(operations, name) for name in names}
    return fields, {"gmacs_thop": operations.gmacs_thop_reason}


def _measure_memory(network: nn.Module, example: Tensor) -> tuple[Fields, Reasons]:
    if isinstance(network, ConvertedNetwork):
        return _measure_converted_memory(network, example)
    try:
        memory = measure_peak_memory(network, example)
    except CellError as error:
        reasons: Reasons = dict.fromkeys(("peak_memory_mb", "peak_process_mb"), str(error))
        return {"weights_mb": measure_weights_mb(network)}, reasons
    names = ("weights_mb", "peak_memory_mb", "peak_process_mb")
    fields = {name: getattr(memory, name) for name in names}
    return fields, {"peak_process_mb": memory.peak_process_reason}


def _measure_converted_memory(network: nn.Module, example: Tensor) -> tuple[Fields, Reasons]:
    """Measure a network whose layers hold their weights where no module shows them."""
    memory = measure_peak_memory(network, example, on_meta=False)
    fields = {
        "weights_mb": stored_mb(network),
        "peak_memory_mb": memory.peak_memory_mb,
    }
    return fields, {"peak_process_mb": memory.peak_process_reason}


def _measure_latency(
    networks: dict[str, Network], examples: dict[str, Tensor], job: Job
) -> dict[str, Latency]:
    limits = job.settings.measurement
    return measure_latency(
        networks,
        examples,
        rounds=limits.latency_rounds,
        seconds=limits.latency_seconds,
        seed=job.settings.seed,
    )


def _describe_latency(latency: Latency) -> Fields:
    names = ("latency_ms_p05", "latency_ms_p50", "latency_ms_p95", "latency_ms_p99")
    return {name: getattr(latency, name) for name in names} | {"latency_rounds": latency.rounds}


def _measure_training_memory(
    network: nn.Module, example: Tensor, job: Job
) -> tuple[Fields, Reasons]:
    name = "peak_training_memory_mb"
    if isinstance(network, ConvertedNetwork):
        return {}, {name: f"{network.precision} weights are not trained"}
    recipe = job.settings.pruning.training if job.settings.pruning else job.settings.training
    try:
        memory = measure_training_peak(
            network,
            example.expand(recipe.batch_size, -1, -1, -1),
            make_optimizer=lambda trained: make_optimizer(nn.ParameterList(trained), recipe),
        )
    except CellError as error:
        return {}, {name: str(error)}
    return {name: memory.peak_training_memory_mb}, {}


def _measure_speed(
    network: Network, images: Tensor, gflops: float | None, job: Job
) -> tuple[Fields, Reasons]:
    """Measure throughput, and what the device spends on it: arithmetic, energy, cache."""
    limits = job.settings.measurement
    throughput = measure_throughput(
        network,
        images,
        batch_sizes=limits.throughput_batch_sizes,
        seconds=limits.throughput_seconds,
    )
    peak = measure_peak(str(images.device))
    size, seconds = throughput.batch_size, limits.throughput_seconds
    energy = measure_energy(network, filled(images, size), seconds=seconds)
    cache = measure_cache(network, images[:1], seconds=seconds)
    rate = throughput.images_per_s
    fields = {
        "throughput_images_per_s": rate,
        "throughput_batch_size": size,
        "throughput_peak_share": gflops and rate * gflops / peak.gflops_per_s,
        "peak_gflops_per_s": peak.gflops_per_s,
        "energy_j_per_image": energy.energy_j_per_image,
        "cache_references_per_image": cache.cache_references_per_image,
        "cache_misses_per_image": cache.cache_misses_per_image,
    }
    caches = ("cache_references_per_image", "cache_misses_per_image")
    return fields, {
        "energy_j_per_image": energy.energy_reason,
        **dict.fromkeys(caches, cache.cache_reason),
    }
