"""Publishing: copies a user's own records into the results of the project."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from harness.errors import unknown_name
from harness.records.cell import CELLS
from harness.records.cost import COSTS
from harness.records.latency import LATENCIES
from harness.records.store import address_of
from harness.records.tuning import TUNINGS
from harness.util.files import atomic_path

_STORES = (CELLS, COSTS, LATENCIES, TUNINGS)


def publish_records(own: Path, results: Path, names: Sequence[str]) -> list[Path]:
    """Copy records, with the predictions beside them, from `own` to `results`; return the files.

    Names are `digits/resnet-cpu` for a cell, `latency/digits-cpu-2t`, `costs/digits/resnet-32` and
    `tuning/digits/resnet-cpu` for the other kinds; without any, all are copied.

    Raises:
        RequestError: A name is unknown, or a record is broken; nothing was copied then.
    """
    for store in _STORES:
        store.read_all(own)
    found = {
        address_of(path.relative_to(own).as_posix()): path
        for store in _STORES
        for path in own.glob(store.pattern)
    }
    for name in names:
        if name not in found:
            raise unknown_name("record", name, found, "below results/own")
    written = []
    for name in names or sorted(found):
        # Records of the other kinds have no predictions.
        predictions = own / "predictions" / f"{name}.json"
        for path in filter(Path.exists, (predictions, found[name])):
            target = results / path.relative_to(own)
            with atomic_path(target) as temporary:
                shutil.copyfile(path, temporary)
            written.append(target)
    return written
