"""All records as one pandas frame, for the CSV files and for users who analyse them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import RequestError
from harness.records.cell import CELLS, SCALARS, Record
from harness.reproduction.published import published_cells

if TYPE_CHECKING:
    import pandas as pd

_PUBLISHED = ("accuracy_top1", "latency_ms", "file_mb", "gmacs_thop")


def load_results(results: str | Path) -> pd.DataFrame:
    """Return the records of a results folder, a row each.

    The columns are the fields of a record that hold one value, with the unit in the name; the
    published figures as `published_...`, digits as printed; the settings as `settings.` and their
    name, such as `settings.training.epochs`; and what a compressed model was made from as
    `compression.` and the field. What was not measured is missing (NaN). A file that is no record
    is left out with a warning that names it.

    Raises:
        RequestError: There is no record.
    """
    import pandas as pd

    records, broken = CELLS.read_good(Path(results))
    for line in broken:
        warnings.warn(line, stacklevel=2)
    if not records:
        raise RequestError(f"{results}: no records below it; a folder as results/ wanted")
    parts = [
        {"settings": record.settings.settings, "compression": record.flat["compression"] or {}}
        for record in records
    ]
    return pd.concat([frame_records(records), pd.json_normalize(parts)], axis="columns")


def frame_records(records: Sequence[Record]) -> pd.DataFrame:
    """Return the fields of records that hold one value, and the published figures beside them."""
    import pandas as pd

    published = published_cells()
    cells = [published.get((record.cell.dataset, record.cell.model)) for record in records]
    rows = [
        {name: record.flat[name] for name in SCALARS}
        | {f"published_{name}": getattr(cell, name, None) for name in _PUBLISHED}
        for record, cell in zip(records, cells, strict=True)
    ]
    frame = pd.DataFrame(rows)
    numbers = frame.select_dtypes("float")
    # Whole numbers stay whole where one is missing.
    whole = [name for name in numbers if not any(isinstance(row[name], float) for row in rows)]
    return frame.astype(dict.fromkeys(whole, "Int64"))
