"""What one call of `cli/compare_models.py` reports, independent of the output format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from harness.measure.latency import Latency
from harness.measure.operations import describe_uncounted
from harness.profiling.analysis import Analysis, Failure, Row
from harness.profiling.columns import MEASURED, TIMED
from harness.profiling.hardware import ELEMENT_BYTES
from harness.profiling.layers import Layer
from harness.profiling.metrics import Metrics
from harness.profiling.names import LIBRARIES, ModelName
from harness.profiling.publishers import PUBLISHED
from harness.profiling.ranking import Extreme, Recommendation
from harness.profiling.request import Options, show_size, sides
from harness.profiling.results import describe_machine
from harness.records.cell import Record

_ACCOUNTINGS = {
    "complete": "every operator of the forward pass, attention included; intensity is all FLOPs "
    "over all bytes",
    "published": "as in published tables: modules, sums and products, without attention, softmax, "
    "layer norm and pooling; intensity is the mean over those with FLOPs",
}

# What is said of a record beside its figures.
MEASURED_HOW = ("measured_on", "measured_as", "measured_device", "measured_image_size")


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is shown.

    Attributes:
        extremes: The ends of the rankings.
        layers_of: The model whose `layers` are shown, if any.
        dataset: The data set whose records are shown beside; empty: none.
        measured: The records of the models that have one.
        published: What publishers of weights state of models, by field.
        timed: Latencies measured on this machine.
    """

    options: Options
    rows: Sequence[Row]
    extremes: Sequence[Extreme] = ()
    recommendation: Recommendation | None = None
    layers_of: Analysis | None = None
    layers: Sequence[Layer] = ()
    dataset: str = ""
    measured: Mapping[ModelName, Record] = field(default_factory=dict)
    published: Mapping[ModelName, Mapping[str, Any]] = field(default_factory=dict)
    timed: Mapping[ModelName, Latency] = field(default_factory=dict)

    @property
    def analyses(self) -> list[Analysis]:
        """The rows that have figures."""
        return [row for row in self.rows if isinstance(row, Analysis)]

    @property
    def failures(self) -> list[Failure]:
        """The rows that have none."""
        return [row for row in self.rows if isinstance(row, Failure)]


def describe_counting(options: Options) -> list[str]:
    """Return the lines that say how the figures came about; without them figures mean nothing."""
    accounting = f"accounting: {options.accounting}: {_ACCOUNTINGS[options.accounting]}"
    lines, roof = [accounting, describe_pass(options)], options.roof
    if roof is not None:
        lines.append(
            f"hardware: {roof.name}: {roof.peak_gflops_per_s / 1e3:.4g} TFLOP/s in "
            f"{roof.precision}, {roof.bandwidth_gb_per_s:.4g} GB/s ({roof.source})"
        )
    return lines


def describe_pass(options: Options) -> str:
    """Return which forward pass the figures describe."""
    size = "each model's own size"
    if options.image_size:
        size = "×".join(map(str, sides(options.image_size)))
    return (
        f"one forward pass of {_count(options.batch_size, 'image')} of "
        f"{_count(options.channels, 'channel')}, {size}, {_count(options.classes, 'class')}, "
        f"in {options.precision} ({_count(ELEMENT_BYTES[options.precision], 'byte')} a number)"
    )


def notes(report: Report) -> list[str]:
    """Return the remarks on single models."""
    lines = [f"{each.name}: no figures: {each.reason}" for each in report.failures]
    for each in report.analyses:
        if each.graph.unknown:
            unknown = ", ".join(each.graph.unknown)
            lines.append(f"{each.name}: operators without a formula count 0 FLOPs: {unknown}")
        if each.graph.uncounted:
            lines.append(f"{each.name}: {describe_uncounted(each.graph.uncounted)}: no GMACs")
        wanted = (report.options.batch_size, report.options.classes)
        if each.name.source in LIBRARIES and each.outputs and each.outputs[0] != wanted:
            shown = " and ".join("×".join(map(str, shape)) for shape in each.outputs)
            lines.append(
                f"{each.name}: it has no classifier: it gives {shown} numbers, not "
                f"{_count(report.options.classes, 'class')}"
            )
    if report.published:
        lines.append(
            "published accuracies are those that the publishers of the weights state on "
            "ImageNet-1K; nothing of them was measured here"
        )
    if report.timed:
        lines.append(f"timed on {describe_machine()}, in turn, in a new random order each round")
    if report.dataset:
        lines += _notes_on_records(report)
    return lines


def _notes_on_records(report: Report) -> list[str]:
    lines = []
    for each in report.analyses:
        record = report.measured.get(each.name)
        if record is None:
            lines.append(f"{each.name}: no record on {report.dataset}")
            continue
        lines.append(
            f"{each.name}: measured as {record.cell.model} on {report.dataset}, "
            f"{record.cell.device} ({record.machine.device_name}), "
            f"{record.settings.image_size} pixels, {len(record.data.classes)} classes, "
            f"{record.weights.weights_origin} weights"
        )
    reasons = {
        f"{name} not measured: {reason}"
        for record in report.measured.values()
        for name, reason in _reasons(record).items()
    }
    return lines + sorted(reasons)


def describe_row(row: Row) -> dict[str, Any]:
    """Return every figure of a model by name; None throughout, with the reason, of a failure."""
    figures: dict[str, Any] = dict.fromkeys(each.name for each in fields(Metrics))
    size, reason, unknown = None, None, None
    if isinstance(row, Failure):
        reason = row.reason
    else:
        figures, unknown = asdict(row.metrics), list(row.graph.unknown)
        size = row.image_size if isinstance(row.image_size, int) else show_size(row.image_size)
    return {
        "model": str(replace(row.name, form="")),
        "form": row.name.form or None,
        "title": str(row.name),
        "image_size": size,
        "reason": reason,
        **figures,
        "operators_without_formula": unknown,
    }


def describe_models(report: Report) -> list[dict[str, Any]]:
    """Return every figure of each model by name, what was measured of it among them."""
    return [describe_row(row) | _describe_beside(report, row.name) for row in report.rows]


def _describe_beside(report: Report, name: ModelName) -> dict[str, Any]:
    """Return what is known of a model besides what its graph says."""
    figures: dict[str, Any] = {}
    if report.published:
        stated = report.published.get(name, {})
        figures |= {each: stated.get(each) for each in PUBLISHED}
    if report.timed:
        timed = report.timed.get(name)
        figures |= {f"timed_{c.get}": c.value(timed) if timed else None for c in TIMED}
    if report.dataset:
        record = report.measured.get(name)
        flat = record.flat if record else {}
        figures |= {f"measured_{column.get}": column.value(flat) for column in MEASURED}
        figures |= dict.fromkeys(MEASURED_HOW)
    if record := report.measured.get(name):
        how = (report.dataset, record.cell.model, record.cell.device, record.settings.image_size)
        figures |= dict(zip(MEASURED_HOW, how, strict=True)) | {"not_measured": _reasons(record)}
    return figures


def _reasons(record: Record) -> dict[str, str]:
    """Return why figures that are shown were not measured, by field."""
    shown = {column.get for column in MEASURED}
    return {name: reason for name, reason in record.not_measured.items() if name in shown}


def _count(number: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"
