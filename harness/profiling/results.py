"""What was measured of models, beside what their graphs say: records, and latencies taken here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from harness.errors import CellError, RequestError, unknown_name
from harness.measure.latency import Latency, measure_latency
from harness.networks.deployed import deploy
from harness.profiling.analysis import Analysis, analyse_all
from harness.profiling.building import build
from harness.profiling.hardware import find_machine
from harness.profiling.names import ModelName
from harness.profiling.request import Options, sides
from harness.records.cell import CELLS, Record

_ROUNDS, _SECONDS, _SEED = 50, 30.0, 0


def read_results(dataset: str, results: Path) -> dict[str, Record]:
    """Return a record of each model that has one on a data set, the CPU's where there are several.

    RequestError: there is no record of that data set, or one cannot be read.
    """
    every = [record for record in CELLS.read_all(results) if record.status == "ok"]
    known = {record.cell.dataset for record in every}
    if dataset not in known:
        raise unknown_name("--with-results", dataset, known, f"data sets with records in {results}")
    found: dict[str, Record] = {}
    for record in every:
        cell, is_variant = record.cell, record.published or record.settings.repeat
        if cell.dataset != dataset or is_variant:
            continue
        if cell.device == "cpu" or cell.model not in found:
            found[cell.model] = record
    return found


def join_results(
    analyses: Sequence[Analysis], options: Options, records: Mapping[str, Record]
) -> dict[ModelName, Record]:
    """Return the records, given by the folder's name, of the models that have one.

    Only our folders have records. A model of a library gets the record of the folder whose network,
    built for the same images and classes, has tensors of the same names and shapes and as many
    multiply-accumulates.
    """
    folders = {ModelName(source="ours", name=model): record for model, record in records.items()}
    twins: dict[object, Record] = {}
    if any(each.name.source != "ours" for each in analyses):
        # A compressed model's graph is its base's, but it is another network.
        whole = [name for name, record in folders.items() if not record.compression]
        # A folder that fails here cannot take these images, so no model is the same as it.
        built = [row for row in analyse_all(whole, options) if isinstance(row, Analysis)]
        twins = {_identity(each): folders[each.name] for each in built}
    found = {each.name: folders.get(each.name) or twins.get(_identity(each)) for each in analyses}
    return {name: record for name, record in found.items() if record is not None}


def _identity(analysis: Analysis) -> object:
    return analysis.tensors, analysis.metrics.gmacs


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
