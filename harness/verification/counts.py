"""Verification of counted costs, by counting again."""

from __future__ import annotations

import dataclasses

from harness.errors import CellError, RequestError
from harness.jobs import Cell
from harness.plan.jobs import make_job
from harness.records.cost import CostPath, CostRecord
from harness.run.count import count_costs
from harness.verification.checks import Check, Places, check_code, compare, unknown

_FIGURES = (
    *("image_size", "channels", "classes", "params", "weights_mb", "file_mb"),
    *("peak_memory_mb", "gmacs", "gflops", "gmacs_thop"),
)
_FIGURES_OF_PATH = tuple(field.name for field in dataclasses.fields(CostPath))


def check_costs(record: CostRecord, places: Places) -> list[Check]:
    """Return checks of a model's costs at the shape of a data set."""
    cell = Cell(dataset=record.dataset, model=record.model, device="cpu")
    try:
        job, _ = make_job(places.read_request(record.provenance.command), cell)
        now = count_costs(job)
    except (CellError, RequestError) as error:
        return unknown("costs", str(error))
    checks = check_code(record.code_digest, record.model)
    checks += [compare(name, getattr(record, name), getattr(now, name)) for name in _FIGURES]
    paths = {path.name: path for path in now.paths}
    checks.append(compare("paths", [path.name for path in record.paths], list(paths)))
    return checks + [
        compare(f"paths.{path.name}.{name}", getattr(path, name), getattr(paths[path.name], name))
        for path in record.paths
        if path.name in paths
        for name in _FIGURES_OF_PATH
    ]
