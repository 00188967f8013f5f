"""What was measured of a model, from the records, to stand beside what its graph says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import get_args

from harness.errors import CellError, unknown_name
from harness.jobs import Cell, Device
from harness.profiling.analysis import Analysis, Options, analyse
from harness.profiling.names import ModelName
from harness.records.cell import CELLS, Record, find_record


def read_results(dataset: str, results: Path) -> dict[str, Record]:
    """Return a record of each model that has one on a data set, the CPU's where there are several.

    Raises:
        RequestError: No record is of that data set, or one cannot be read.
    """
    every = [record for record in CELLS.read_all(results) if record.status == "ok"]
    known = {record.cell.dataset for record in every}
    if dataset not in known:
        raise unknown_name("--with-results", dataset, known, f"data sets with records in {results}")
    found: dict[str, Record] = {}
    for model in dict.fromkeys(
        record.cell.model for record in every if record.cell.dataset == dataset
    ):
        for device in get_args(Device):
            # Those of published weights lie beside, under another name.
            cell = Cell(dataset=dataset, model=model, device=device)
            record = find_record(results, cell)
            if record is not None and record.status == "ok":
                found.setdefault(model, record)
    return found


def join_results(
    analyses: Sequence[Analysis], options: Options, records: Mapping[str, Record]
) -> dict[ModelName, Record]:
    """Return the records of the models that have one.

    Only folders leave records. A model of a library has the record of a folder whose network, built
    for the same images and classes, has tensors of the same names and shapes and as many
    multiply-accumulates: ResNet-50 is ResNet-50, whoever asks.

    Args:
        analyses: The models.
        options: How they were counted.
        records: By the folder's name.
    """
    folders = {ModelName(source="ours", name=model): record for model, record in records.items()}
    if all(each.name.source == "ours" for each in analyses):
        twins: dict[object, Record] = {}
    else:
        # A compressed model's graph is its base's, but it is another network.
        whole = [name for name, record in folders.items() if not record.compression]
        twins = {_identity(each): folders[each.name] for each in _analyse(whole, options)}
    found = {each.name: folders.get(each.name) or twins.get(_identity(each)) for each in analyses}
    return {name: record for name, record in found.items() if record is not None}


def _analyse(names: Iterable[ModelName], options: Options) -> Iterator[Analysis]:
    for name in names:
        try:
            yield analyse(name, options)
        except CellError:
            # It cannot be built for these images, so no model here is it.
            continue


def _identity(analysis: Analysis) -> object:
    return analysis.tensors, analysis.metrics.gmacs
