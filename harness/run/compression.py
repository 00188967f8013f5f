"""The cost of a compressed model relative to its base."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from harness.jobs import Job
from harness.measure.memory import measure_weights_mb
from harness.measure.operations import count_parameters, measure_operations
from harness.measure.ratios import compare_latency, time_side_by_side
from harness.records.parts import Compression
from harness.run.costs import Costs

logger = logging.getLogger(__name__)


def measure_compression(
    network: nn.Module,
    base: nn.Module,
    example: Tensor,
    costs: Costs,
    job: Job,
    origin: Mapping[str, Any],
) -> Compression:
    """Measure what the base costs, and time both networks in the same rounds.

    Args:
        network: The compressed one, on the job's device.
        base: The other, there; its weights do not matter.
        example: One image, 1×C×H×W, there.
        costs: What was measured of `network`.
        job: Says how long and how often.
        origin: The fields of the result that say how `network` was made.
    """
    logger.info("%s: latency beside its base", job.cell)
    weights_mb, gmacs = measure_weights_mb(base), costs.operations.gmacs
    # What cannot be counted of the one cannot be of the other.
    operations = measure_operations(base, example) if gmacs else None
    limits, pruning = job.settings.measurement, job.settings.pruning
    rounds = time_side_by_side(
        {"base": base, "compressed": network},
        {"base": example, "compressed": example},
        reference="base",
        rounds=limits.latency_rounds,
        seconds=2 * limits.latency_seconds,
        seed=job.settings.seed,
    )
    ratios = compare_latency([rounds], reference="base", seed=job.settings.seed)
    ratio = ratios["compressed"]
    return Compression(
        **origin,
        params_base=count_parameters(base),
        weights_mb_base=weights_mb,
        weights_ratio_to_base=(costs.memory.weights_mb or 0.0) / weights_mb,
        gmacs_base=operations.gmacs if operations else None,
        gmacs_thop_base=operations.gmacs_thop if operations else None,
        speed_up_wanted=pruning.speed_up if pruning else None,
        speed_up=operations.gmacs / gmacs if operations and gmacs else None,
        latency_ms_p50_base=ratios["base"].latency.latency_ms_p50,
        latency_ratio_to_base=ratio.ratio,
        latency_ratio_to_base_low=ratio.ratio_low,
        latency_ratio_to_base_high=ratio.ratio_high,
        latency_rounds=ratio.latency.rounds,
        latency_drift_base=rounds.drift,
    )
