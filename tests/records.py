"""Records made from fields by name, and the findings that reports make of them."""

import dataclasses
import json
from pathlib import Path

from harness.records.cell import CELLS
from harness.records.cost import COSTS
from harness.records.latency import LATENCIES
from harness.records.material import Material
from harness.report.site import make_findings, render_files


def cell_record(**fields):
    return _parse(CELLS, fields)


def cost_record(**fields):
    return _parse(COSTS, fields)


def latency_record(**fields):
    return _parse(LATENCIES, fields)


def _parse(store, fields):
    plain = json.loads(json.dumps(fields, default=dataclasses.asdict))
    return store.parse({**store.migrate(plain), "schema": store.schema})


def changed(record, **fields):
    """Return a cell's record with other values in some fields, whichever part they belong to."""
    return cell_record(**(record.flat | fields))


def findings_of(records=(), costs=(), latencies=()):
    return make_findings(Path(), Material(records=records, costs=costs, latencies=latencies))


def files_of(findings):
    """Return the text files that reports make of findings without predictions, by their names."""
    return {path.as_posix(): text for path, text in render_files(findings).items()}
