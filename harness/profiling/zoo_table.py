"""The table of the zoo: reading it, choosing rows of it. It imports no torch."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import RequestError
from harness.profiling.metrics import Metrics
from harness.profiling.publishers import PUBLISHED
from harness.registry import REFERENCE_RESULTS

if TYPE_CHECKING:
    import pandas as pd

ZOO = REFERENCE_RESULTS / "zoo"
TABLE, VERSIONS = "models.csv", "versions.json"

_ROOFLINE = {"ridge_flops_per_byte", "latency_bound_ms", "memory_bound_time_percent"}
FIGURES = tuple(f.name for f in dataclasses.fields(Metrics) if f.name not in _ROOFLINE)
"""The figures in the table: all but those that depend on hardware."""
FIELDS = (
    *("model", "source", "form", "image_size", *FIGURES, *PUBLISHED),
    *("operators_without_formula", "reason"),
)
"""The columns of the table."""


def read_zoo(folder: Path = ZOO) -> pd.DataFrame:
    """Return the table, a row for each form of each model.

    Raises:
        RequestError: It is not there or is no such table.
    """
    import pandas as pd

    path = folder / TABLE
    try:
        frame = pd.read_csv(path, dtype={"image_size": str})
    except (OSError, ValueError) as error:
        raise RequestError(f"{path}: {error} (made by: python cli/update_zoo.py)") from None
    if missing := set(FIELDS) - set(frame.columns):
        raise RequestError(f"{path}: columns missing: {', '.join(sorted(missing))}")
    return frame


def read_versions(folder: Path = ZOO) -> dict[str, str | int]:
    """Return what the table was made with: versions of libraries, and of the counting."""
    found: dict[str, str | int] = json.loads((folder / VERSIONS).read_text(encoding="utf-8"))
    return found
