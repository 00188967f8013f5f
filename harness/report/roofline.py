"""The figure of measured latency against the latency that the roofline predicts.

The prediction is a lower bound, computed from a model's graph and two figures of the machine.
`cli/compare_models.py` prints it as CSV; it is read here from one file for a data set and device,
`results/roofline/<data set>-<device>.csv`.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import RequestError
from harness.records.cell import Record
from harness.report.canvas import FAINT, SERIES, new_figure
from harness.report.labels import Label, place_labels, set_logarithmic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The prefix that `cli/compare_models.py` gives to this project's models.
_OURS = "ours:"
_COLUMNS = {"model", "image_size", "hardware", "latency_bound_ms"}


@dataclass(frozen=True, kw_only=True)
class Bound:
    """The latency of a model in ms: the lower bound, and the measured median."""

    title: str
    bound_ms: float
    latency_ms: float


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """The bounds of one data set and device.

    Attributes:
        name: `<data set>-<device>`.
        hardware: The hardware that the bounds hold for.
        bounds: The models that were measured at the same image size.
    """

    name: str
    hardware: str
    bounds: Sequence[Bound]


def read_rooflines(results: Path, records: Sequence[Record]) -> list[Roofline]:
    """Return the predictions that lie in a results folder, joined with what was measured.

    Raises:
        RequestError: A file is not what `cli/compare_models.py --format csv` prints.
    """
    rooflines = [_read(path, records) for path in sorted(results.glob("roofline/*.csv"))]
    return [roofline for roofline in rooflines if roofline.bounds]


def plot_roofline(roofline: Roofline) -> Figure:
    """Plot measured latency against the predicted bound, both on logarithmic axes.

    No point can lie below the line on which they are equal.
    """
    figure = new_figure(6.4, 4.8)
    axes = figure.add_subplot()
    labels = [Label(x=b.bound_ms, y=b.latency_ms, text=b.title) for b in roofline.bounds]
    axes.plot([b.x for b in labels], [b.y for b in labels], "o", color=SERIES[0])
    set_logarithmic(axes, "xy")
    axes.margins(0.12)
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    ends = (min(left, low), max(right, high))
    axes.plot(ends, ends, "--", color=FAINT, linewidth=1, zorder=1, label="measured = predicted")
    axes.set(xlim=(left, right), ylim=(low, high))
    axes.set_xlabel(f"predicted: at least, ms ({roofline.hardware})")
    axes.set_ylabel("measured: median, ms")
    axes.set_title(f"{roofline.name}: latency by the roofline", loc="left")
    axes.legend()
    place_labels(axes, labels)
    return figure


def _read(path: Path, records: Sequence[Record]) -> Roofline:
    dataset, _, device = path.stem.rpartition("-")
    measured = {
        (record.cell.model, record.settings.image_size): record
        for record in records
        if (record.cell.dataset, record.cell.device) == (dataset, device)
        and not (record.settings.repeat or record.published)
    }
    bounds, hardware = [], ""
    for row in _rows(path):
        hardware = row["hardware"]
        record = measured.get((row["model"].removeprefix(_OURS), int(row["image_size"] or 0)))
        if record and record.latency.latency_ms_p50 and row["latency_bound_ms"]:
            bound, latency = float(row["latency_bound_ms"]), record.latency.latency_ms_p50
            bounds.append(Bound(title=record.title, bound_ms=bound, latency_ms=latency))
    return Roofline(name=path.stem, hardware=hardware, bounds=bounds)


def _rows(path: Path) -> list[dict[str, str]]:
    wanted = "what 'cli/compare_models.py --hardware … --format csv' prints"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = csv.DictReader(file)
            rows, names = list(lines), set(lines.fieldnames or ())
        for row in rows:
            float(row.get("latency_bound_ms") or 0)
            int(row.get("image_size") or 0)
    except (OSError, ValueError, csv.Error) as error:
        raise RequestError(f"{path}: not {wanted} ({error})") from None
    if missing := _COLUMNS - names:
        raise RequestError(f"{path}: not {wanted} (it has no column {min(missing)})")
    return rows
