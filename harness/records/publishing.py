"""Publishing: copies a user's own records into the results of the project."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from harness.errors import unknown_name
from harness.records.cell import CELLS
from harness.records.cost import COSTS
from harness.records.latency import LATENCIES
from harness.records.predictions import predictions_place
from harness.util.files import atomic_path


def publish_records(own: Path, results: Path, names: Sequence[str]) -> list[Path]:
    """Copy records, with the predictions beside them, from one results folder into another.

    Args:
        own: The results folder that they are copied from.
        results: The results folder that they are copied to.
        names: `digits/resnet-cpu` for a cell, `latency/digits-cpu-2t` and `costs/digits/resnet-32`
            for the other kinds; empty: all.

    Returns:
        The files that were written.

    Raises:
        RequestError: A name is unknown, or a record is broken; nothing was copied then.
        CellError: A file cannot be written.
    """
    for store in (CELLS, COSTS, LATENCIES):
        store.read_all(own)
    found = {
        path.relative_to(own).with_suffix("").as_posix().removeprefix("records/"): path
        for store in (CELLS, COSTS, LATENCIES)
        for path in own.glob(store.pattern)
    }
    for name in names:
        if name not in found:
            raise unknown_name("record", name, found, "below results/own")
    written = []
    for name in names or sorted(found):
        predictions = own / predictions_place(*name.split("/")) if name.count("/") == 1 else None
        for path in (predictions, found[name]):
            if path is not None and path.exists():
                target = results / path.relative_to(own)
                with atomic_path(target) as temporary:
                    shutil.copyfile(path, temporary)
                written.append(target)
    return written
