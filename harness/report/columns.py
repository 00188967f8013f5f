"""The columns of a data set's table: what a row shows there, and which of its rows is the best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Literal

from harness.report.rows import Row
from harness.reproduction.published import REFERENCE, PublishedCell, published_ratio

NOTHING = "–"


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a row shows in a column.

    Attributes:
        figure: The figure itself.
        spread: What stands behind it: an interval.
        value: What is compared to find the best.
        pool: Only figures of the same pool are compared.
        best: Whether it is the best of its pool.
    """

    figure: str
    spread: str
    value: float
    pool: str
    best: bool = False


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        name: Its header, with the unit.
        better: Whether a high or a low figure is better.
        show: What a row shows there; None where that was not measured.
        published: The name of the field of `PublishedCell` that it is compared with, if any.
        optional: Whether it is left out where no row shows anything and nothing was published.
    """

    name: str
    better: Literal["high", "low"]
    show: Callable[[Row], Shown | None]
    published: str = ""
    optional: bool = False

    @property
    def header(self) -> str:
        """The name, with an arrow to where it is better."""
        first, bracket, rest = self.name.partition(" (")
        return f"{first} {'↑' if self.better == 'high' else '↓'}{bracket}{rest}"


def _number(
    field: str, digits: int, scale: float = 1.0, pool: Callable[[Row], str] = lambda _: ""
) -> Callable[[Row], Shown | None]:
    def show(row: Row) -> Shown | None:
        values = [value * scale for value in row.values(field)]
        if not values:
            return None
        return Shown(figure=_figure(values, digits), spread="", value=fmean(values), pool=pool(row))

    return show


def _figure(values: Sequence[float], digits: int) -> str:
    """Return the figure of several runs: mean ± standard deviation where they are not the same."""
    texts = {f"{value:.{digits}f}" for value in values}
    if len(texts) > 1:
        return f"{fmean(values):.{digits}f} ± {stdev(values):.{digits}f}"
    (text,) = texts
    # A small figure is not none at all.
    return f"{values[0]:.2g}" if values[0] and float(text) == 0 else text


def _accuracy(row: Row) -> Shown | None:
    record, values = row.record, row.values("accuracy_top1")
    if record is None or not values:
        return None
    untrained = record.weights.weights_origin in ("random", "imagenet")
    pool = f"untrained {row.title}" if untrained else record.data.data_sha256
    spread = f"(n={len(values)})"
    if len(values) == 1:
        spread = (
            f"({record.accuracy.accuracy_top1_low:.1f}–{record.accuracy.accuracy_top1_high:.1f})"
        )
    figure = f"{fmean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")
    return Shown(figure=figure, spread=spread, value=fmean(values), pool=pool)


def _ratio(row: Row) -> Shown | None:
    timed = row.latency
    if timed is None or timed.ratio is None:
        return None
    spread = "" if row.model == REFERENCE else f"({timed.ratio_low:.3g}–{timed.ratio_high:.3g})"
    return Shown(figure=f"{timed.ratio:.3g}", spread=spread, value=timed.ratio, pool=row.device)


def _file(row: Row) -> Shown | None:
    """Show the size of the weights' file, as it was counted; of a tree those of its paths."""
    cost, record = row.cost, row.record
    if cost is None:
        return None
    if record is not None:
        alike = cost.weights_origin == "random" or record.published
        if record.settings.image_size != cost.image_size or not alike:
            return None
    sizes = sorted(path.file_mb for path in cost.paths) or [cost.file_mb]
    figure = f"{sizes[0]:.2f}" + (f"–{sizes[-1]:.2f}" if cost.paths else "")
    return Shown(figure=figure, spread="", value=sizes[-1], pool="")


def _machine(row: Row) -> str:
    return f"{row.record.machine.device_name}, {row.record.machine.threads}" if row.record else ""


COLUMNS: tuple[Column, ...] = (
    Column(name="Top-1 % (95%)", better="high", show=_accuracy, published="accuracy_top1"),
    Column(
        name="Latency ms",
        better="low",
        show=_number("latency_ms_p50", 2, pool=_machine),
        published="latency_ms",
    ),
    Column(name="÷ ResNet-50", better="low", show=_ratio, published="latency_ratio", optional=True),
    Column(
        name="Images/s",
        better="high",
        show=_number("throughput_images_per_s", 0, pool=_machine),
    ),
    Column(name="File MB", better="low", show=_file, published="file_mb", optional=True),
    Column(name="Weights MB", better="low", show=_number("weights_mb", 2)),
    Column(name="Peak MB", better="low", show=_number("peak_memory_mb", 2)),
    Column(name="Params M", better="low", show=_number("params", 2, 1e-6)),
    Column(name="GMACs", better="low", show=_number("gmacs", 3)),
    Column(name="thop GMACs", better="low", show=_number("gmacs_thop", 3), published="gmacs_thop"),
)


def columns_of(rows: Sequence[Row]) -> list[Column]:
    """Return the columns of a table with these rows."""
    published = any(row.published for row in rows)
    return [
        c
        for c in COLUMNS
        if not c.optional or (c.published and published) or any(map(c.show, rows))
    ]


def show_column(column: Column, rows: Sequence[Row]) -> list[Shown | None]:
    """Return what each row shows in a column; the best of each pool of several is marked."""
    shown = [column.show(row) for row in rows]
    pools: dict[str, list[Shown]] = {}
    for each in shown:
        if each is not None:
            pools.setdefault(each.pool, []).append(each)
    choose = max if column.better == "high" else min
    best = {
        pool: choose(members, key=lambda each: each.value).figure
        for pool, members in pools.items()
        if len(members) > 1
    }
    # By what can be read: figures that look the same are equally good.
    return [
        each and replace(each, best=each.pool in best and each.figure == best[each.pool])
        for each in shown
    ]


def show_published(column: Column, row: Row, reference: PublishedCell | None) -> str:
    """Return what was published in place of a figure, digits as printed, or a dash.

    Args:
        column: One that was published.
        row: The row.
        reference: What was published of the model that latencies are divided by.
    """
    if row.published is None:
        return NOTHING
    if column.published != "latency_ratio":
        return str(getattr(row.published, column.published))
    ratio = published_ratio(row.published, reference)
    return NOTHING if ratio is None else f"{ratio:.2f}"
