"""Latencies of the models compared, measured on this machine beside what is predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from harness.errors import CellError, RequestError
from harness.measure.latency import Latency, measure_latency
from harness.networks.deployed import deploy
from harness.profiling.analysis import Analysis
from harness.profiling.building import build
from harness.profiling.hardware import find_machine
from harness.profiling.names import ModelName
from harness.profiling.request import Options, sides

_ROUNDS, _SECONDS, _SEED = 50, 30.0, 0


def time_analyses(analyses: Sequence[Analysis], options: Options) -> Mapping[ModelName, Latency]:
    """Time one pass of each model over the same images, all in a new order each round.

    They have random weights, fp32, on the GPU where there is one, else on the CPU. A model that
    cannot be run here is a RequestError.
    """
    device, _ = find_machine()
    networks, images = {}, {}
    for each in analyses:
        key, shape = str(each.name), (options.batch_size, options.channels, *sides(each.image_size))
        try:
            network = build(each.name, options, on_meta=False)[0].to(device)
        except CellError as error:
            raise RequestError(f"--measure: {key}: {error}") from error
        networks[key] = deploy(network, inplace=True) if each.name.form == "deploy" else network
        images[key] = torch.zeros(shape, device=device)
    if not networks:
        return {}
    times = measure_latency(networks, images, rounds=_ROUNDS, seconds=_SECONDS, seed=_SEED)
    return {each.name: times[str(each.name)] for each in analyses}


def describe_machine() -> str:
    """Return what the latencies were measured on."""
    return f"{find_machine()[1]}, torch {torch.__version__}, fp32, random weights"
