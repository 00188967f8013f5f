"""Cost of a compressed model relative to its base."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import cast

from torch import Tensor, nn

from harness.catalog import load_model
from harness.data.loading import ImageData
from harness.jobs import Job
from harness.measure.memory import measure_weights_mb
from harness.measure.operations import Operations as Measured
from harness.measure.operations import count_parameters, measure_operations
from harness.measure.ratios import compare_latency, time_side_by_side
from harness.networks.build import build_network
from harness.records.parts import Compression, Operations
from harness.run.costs import Costs
from harness.run.provision import ReadyNetwork
from harness.spec import ModelSpec, RoutedNetwork

logger = logging.getLogger(__name__)


def measure_compression(
    ready: ReadyNetwork,
    example: Tensor,
    costs: Costs,
    job: Job,
    spec: ModelSpec,
    data: ImageData,
) -> Compression:
    """Measure the costs of a base with random weights, and time both networks in the same rounds.

    Of trees, the layers on the example's path are timed. The compressed network and the example,
    one image 1×C×H×W, are on the job's device.
    """
    logger.info("%s: latency beside its base", job.cell)
    base = _build_base(ready, job, spec, data).to(job.cell.device).eval()
    notes = (ready.sidecar.compression if ready.sidecar else None) or {}
    weights_mb, gmacs = measure_weights_mb(base), costs.operations.gmacs
    timed = {"base": base, "compressed": ready.network}
    operations: Operations | Measured | None = None
    if costs.paths:
        # Images take the same layers of both.
        operations, timed = costs.operations, _on_path_of(example, timed)
    elif gmacs:  # else those of the base cannot be counted either
        operations = measure_operations(base, example)
    limits, pruning = job.settings.measurement, job.settings.pruning
    rounds = time_side_by_side(
        timed,
        {"base": example, "compressed": example},
        reference="base",
        rounds=limits.latency_rounds,
        seconds=2 * limits.latency_seconds,
        seed=job.settings.seed,
    )
    ratios = compare_latency([rounds], reference="base", seed=job.settings.seed)
    ratio = ratios["compressed"]
    made = {name: value for name, value in notes.items() if name not in ("base", "settings")}
    return Compression(
        base=spec.base,
        method=spec.section,
        **made,
        params_base=count_parameters(base),
        weights_mb_base=weights_mb,
        weights_ratio_to_base=(costs.memory.weights_mb or 0.0) / weights_mb,
        gmacs_base=operations.gmacs if operations else None,
        gmacs_thop_base=operations.gmacs_thop if operations else None,
        speed_up_wanted=pruning.speed_up if pruning else None,
        speed_up=operations.gmacs / gmacs if operations and operations.gmacs and gmacs else None,
        latency_ms_p50_base=ratios["base"].latency.latency_ms_p50,
        latency_ratio_to_base=ratio.ratio,
        latency_ratio_to_base_low=ratio.ratio_low,
        latency_ratio_to_base_high=ratio.ratio_high,
        latency_rounds=ratio.latency.latency_rounds,
        latency_drift_base=rounds.drift,
    )


def _build_base(ready: ReadyNetwork, job: Job, spec: ModelSpec, data: ImageData) -> nn.Module:
    base = load_model(spec.base)
    make = partial(build_network, base, job.settings, len(data.classes), data.channels)
    if base.rebuild is None or base.describe is None:
        return make()
    return base.rebuild(base.describe(ready.network, make), make)


def _on_path_of(image: Tensor, trees: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Return the layers of equal trees that the compressed one sends an image through."""
    routed = {name: cast("RoutedNetwork", tree) for name, tree in trees.items()}
    label = int(routed["compressed"].route(image))
    return {
        name: next(path.network for path in tree.paths() if label in path.classes)
        for name, tree in routed.items()
    }
