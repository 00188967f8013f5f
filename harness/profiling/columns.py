"""The figures as they are shown: headers with units, digits, groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.profiling.metrics import Metrics

Group = Literal["size", "computation", "memory traffic", "intensity", "parallelism", "roofline"]

ABSENT = "–"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One figure: its field of `Metrics`, and how it is shown.

    Attributes:
        field: Of `Metrics`.
        header: With the unit.
        group: What it stands with.
        digits: After the point.
        scale: From the field to the unit of the header.
    """

    field: str
    header: str
    group: Group
    digits: int = 0
    scale: float = 1.0

    def show(self, metrics: Metrics) -> str:
        """Return the figure; a dash where there is none."""
        value = getattr(metrics, self.field)
        return value if isinstance(value, str) else show_number(value, self.digits, self.scale)


def show_number(value: float | None, digits: int, scale: float = 1.0) -> str:
    """Return a number with so many digits after the point; more where it would be shown as 0."""
    if value is None:
        return ABSENT
    text = f"{value * scale:.{digits}f}"
    return f"{value * scale:.2g}" if value and float(text) == 0 else text


COLUMNS: tuple[Column, ...] = (
    Column(field="params", header="parameters, M", group="size", digits=2, scale=1e-6),
    Column(field="trainable_params", header="trainable, M", group="size", digits=2, scale=1e-6),
    Column(field="model_size_mb", header="model size, MB", group="size", digits=2),
    Column(field="operators", header="operators", group="size"),
    Column(field="sequential_depth", header="depth, operators", group="size"),
    Column(field="max_width_channels", header="width, channels", group="size"),
    Column(field="gmacs", header="GMACs", group="computation", digits=3),
    Column(field="gflops", header="GFLOPs", group="computation", digits=3),
    Column(field="flops_per_param", header="FLOPs/parameter", group="computation", digits=2),
    Column(field="params_per_mac", header="parameters/MAC", group="computation", digits=4),
    Column(field="traffic_mb", header="traffic, MB", group="memory traffic", digits=2),
    Column(field="traffic_input_mb", header="inputs, MB", group="memory traffic", digits=2),
    Column(field="traffic_output_mb", header="outputs, MB", group="memory traffic", digits=2),
    Column(field="traffic_weights_mb", header="weights, MB", group="memory traffic", digits=2),
    Column(field="bytes_per_flop", header="bytes/FLOP", group="memory traffic", digits=4),
    Column(
        field="peak_activations_mb", header="peak activations, MB", group="memory traffic", digits=2
    ),
    Column(field="intensity_flops_per_byte", header="FLOPs/byte", group="intensity", digits=3),
    Column(
        field="compute_bound_operators_percent",
        header="compute-bound, % of operators",
        group="intensity",
        digits=1,
    ),
    Column(
        field="memory_bound_operators_percent",
        header="memory-bound, % of operators",
        group="intensity",
        digits=1,
    ),
    Column(field="intensity_class", header="class", group="intensity"),
    Column(field="operators_per_level", header="operators/level", group="parallelism", digits=2),
    Column(field="max_operators_per_level", header="most on a level", group="parallelism"),
    Column(
        field="critical_path_gflops", header="critical path, GFLOPs", group="parallelism", digits=3
    ),
    Column(field="ridge_flops_per_byte", header="ridge, FLOPs/byte", group="roofline", digits=2),
    Column(field="latency_bound_ms", header="at least, ms", group="roofline", digits=3),
    Column(
        field="memory_bound_time_percent",
        header="memory-bound, % of time",
        group="roofline",
        digits=1,
    ),
)
