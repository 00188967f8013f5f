"""The columns of a data set's table: measured figures, each beside the published one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean, stdev

from harness.report.rows import Row, accuracy_interval
from harness.report.table import Column, Shown, show_number
from harness.reproduction.published import REFERENCE, published_cells, published_ratio


@dataclass(frozen=True, kw_only=True)
class Measure(Column[Row]):
    """A column of measured figures.

    Attributes:
        published: The name of the field of `PublishedCell` that it is compared with, if any.
        optional: Whether it is left out where no row shows anything and nothing was published.
    """

    align: str = "r"
    published: str = ""
    optional: bool = False


def _number(
    field: str, digits: int, scale: float = 1.0, pool: Callable[[Row], str] = lambda _: ""
) -> Callable[[Row], Shown | None]:
    """Return a function that shows a row's figure, of several runs as mean ± standard deviation."""

    def show(row: Row) -> Shown | None:
        values = [value * scale for value in row.values(field)]
        if not values:
            return None
        alike = len({f"{value:.{digits}f}" for value in values}) == 1
        text = show_number(values[0], digits) if alike else _mean(values, digits)
        return Shown(text=text, value=fmean(values), pool=pool(row))

    return show


def _accuracy(row: Row) -> Shown | None:
    record, values = row.record, row.values("accuracy_top1")
    if record is None or not values:
        return None
    untrained = record.weights.weights_origin in ("random", "imagenet")
    pool = f"untrained {row.title}" if untrained else record.data.data_sha256
    figure, spread = f"{values[0]:.2f}", accuracy_interval(record)
    if len(values) > 1:
        figure, spread = _mean(values, 2), f"(n={len(values)})"
    return Shown(text=figure, spread=spread, value=fmean(values), pool=pool)


def _mean(values: Sequence[float], digits: int) -> str:
    return f"{fmean(values):.{digits}f} ± {stdev(values):.{digits}f}"


def _ratio(row: Row) -> Shown | None:
    timed = row.latency
    if timed is None or timed.ratio is None:
        return None
    spread = "" if row.model == REFERENCE else f"({timed.ratio_low:.3g}–{timed.ratio_high:.3g})"
    return Shown(text=f"{timed.ratio:.3g}", spread=spread, value=timed.ratio, pool=row.device)


def _file(row: Row) -> Shown | None:
    """Show the counted size of the weights' file, of a tree the range over its paths."""
    cost, record = row.cost, row.record
    if cost is None:
        return None
    if record is not None:
        alike = cost.weights_origin == "random" or record.published
        if record.settings.image_size != cost.image_size or not alike:
            return None
    sizes = sorted(path.file_mb for path in cost.paths) or [cost.file_mb]
    figure = f"{sizes[0]:.2f}" + (f"–{sizes[-1]:.2f}" if cost.paths else "")
    return Shown(text=figure, value=sizes[-1])


def _machine(row: Row) -> str:
    return f"{row.record.machine.device_name}, {row.record.machine.threads}" if row.record else ""


COLUMNS: tuple[Measure, ...] = (
    Measure(name="Top-1 % (95%)", better="high", get=_accuracy, published="accuracy_top1"),
    Measure(
        name="Latency ms",
        better="low",
        get=_number("latency_ms_p50", 2, pool=_machine),
        published="latency_ms",
    ),
    Measure(name="÷ ResNet-50", better="low", get=_ratio, published="latency_ratio", optional=True),
    Measure(
        name="Images/s", better="high", get=_number("throughput_images_per_s", 0, pool=_machine)
    ),
    Measure(name="File MB", better="low", get=_file, published="file_mb", optional=True),
    Measure(name="Weights MB", better="low", get=_number("weights_mb", 2)),
    Measure(name="Peak MB", better="low", get=_number("peak_memory_mb", 2)),
    Measure(name="Params M", better="low", get=_number("params", 2, 1e-6)),
    Measure(name="GMACs", better="low", get=_number("gmacs", 3)),
    Measure(name="thop GMACs", better="low", get=_number("gmacs_thop", 3), published="gmacs_thop"),
)


def columns_of(rows: Sequence[Row]) -> Sequence[Column[Row]]:
    """Return the columns of a table of rows, those of published figures among them if any is."""
    published = any(row.published for row in rows)
    measures = [
        c
        for c in COLUMNS
        if not c.optional or (c.published and published) or any(map(c.value, rows))
    ]
    return with_published(measures) if published else measures


def with_published(measures: Sequence[Measure], dash: str = "-") -> list[Column[Row]]:
    """Return columns, each followed by the published figures in its place, if there are any.

    The header of a column becomes the group of both. `dash` joins the ends of a published range.
    """
    columns: list[Column[Row]] = []
    for each in measures:
        columns.append(replace(each, group=each.header))
        if each.published:
            show = partial(_show_published, each.published, dash)
            columns.append(Column(name="published", get=show, align="r", group=each.header))
    return columns


def _show_published(field: str, dash: str, row: Row) -> str | None:
    if row.published is None:
        return None
    if field != "latency_ratio":
        return str(getattr(row.published, field)).replace("-", dash)
    reference = published_cells().get((row.dataset, REFERENCE))
    ratio = published_ratio(row.published, reference)
    return None if ratio is None else f"{ratio:.2f}"
