"""The columns of the tables: each figure with its name, unit, digits and group."""

from __future__ import annotations

from typing import Any

from harness.report.table import Column


def _figure(group: str, name: str, get: str, digits: int = 0, scale: float = 1.0) -> Column[Any]:
    return Column(name=name, get=get, digits=digits, scale=scale, group=group)


# The fields of `Metrics`, in their order.
COLUMNS: tuple[Column[Any], ...] = (
    _figure("size", "parameters, M", "params", 2, 1e-6),
    _figure("size", "trainable, M", "trainable_params", 2, 1e-6),
    _figure("size", "model size, MB", "model_size_mb", 2),
    _figure("size", "operators", "operators"),
    _figure("size", "depth, operators", "sequential_depth"),
    _figure("size", "width, channels", "max_width_channels"),
    _figure("computation", "GMACs", "gmacs", 3),
    _figure("computation", "GFLOPs", "gflops", 3),
    _figure("computation", "activations, M", "activations", 2, 1e-6),
    _figure("computation", "FLOPs/parameter", "flops_per_param", 2),
    _figure("computation", "parameters/MAC", "params_per_mac", 4),
    _figure("memory traffic", "traffic, MB", "traffic_mb", 2),
    _figure("memory traffic", "inputs, MB", "traffic_input_mb", 2),
    _figure("memory traffic", "outputs, MB", "traffic_output_mb", 2),
    _figure("memory traffic", "weights, MB", "traffic_weights_mb", 2),
    _figure("memory traffic", "bytes/FLOP", "bytes_per_flop", 4),
    _figure("memory traffic", "peak activations, MB", "peak_activations_mb", 2),
    _figure("intensity", "FLOPs/byte", "intensity_flops_per_byte", 3),
    _figure("intensity", "compute-bound, % of operators", "compute_bound_operators_percent", 1),
    _figure("intensity", "memory-bound, % of operators", "memory_bound_operators_percent", 1),
    _figure("intensity", "class", "intensity_class"),
    _figure("parallelism", "operators/level", "operators_per_level", 2),
    _figure("parallelism", "most on a level", "max_operators_per_level"),
    _figure("parallelism", "critical path, GFLOPs", "critical_path_gflops", 3),
    _figure("roofline", "ridge, FLOPs/byte", "ridge_flops_per_byte", 2),
    _figure("roofline", "at least, ms", "latency_bound_ms", 3),
    _figure("roofline", "memory-bound, % of time", "memory_bound_time_percent", 1),
)

# Fields of a record, shown beside models that have one.
MEASURED: tuple[Column[Any], ...] = (
    Column(name="top-1, %", get="accuracy_top1", digits=2),
    Column(name="top-5, %", get="accuracy_top5", digits=2),
    Column(name="peak, MB", get="peak_memory_mb", digits=2),
    Column(name="latency, ms", get="latency_ms_p50", digits=2),
    Column(name="images/s", get="throughput_images_per_s", digits=0),
    Column(name="energy, J/image", get="energy_j_per_image", digits=3),
)

# What publishers of weights state.
STATED: tuple[Column[Any], ...] = (
    _figure("published", "published top-1, %", "published_top1", 2),
    _figure("published", "published top-5, %", "published_top5", 2),
    _figure("published", "published GMACs", "published_gmacs", 3),
    Column(
        name="of weights",
        # Of "ResNet18_Weights.IMAGENET1K_V1", the model's name stands beside it anyway.
        get=lambda model: (model["published_weights"] or "").partition(".")[2] or None,
        align="r",
        group="published",
    ),
)

# Fields of a `Latency` that is measured on this machine.
TIMED: tuple[Column[Any], ...] = (
    Column(name="measured median, ms", get="latency_ms_p50", digits=3),
    Column(name="5th percentile, ms", get="latency_ms_p05", digits=3),
    Column(name="95th percentile, ms", get="latency_ms_p95", digits=3),
)

# Fields of a `Layer`; the last two are shown where there is hardware.
LAYER: tuple[Column[Any], ...] = (
    Column(name="module", get=lambda layer: layer.module or "(the network itself)"),
    Column(name="operators", get="operators"),
    Column(name="output", get="output", align="r"),
    Column(name="parameters", get="params", digits=0),
    Column(name="MMACs", get="macs", digits=2, scale=1e-6),
    Column(name="MFLOPs", get="flops", digits=2, scale=1e-6),
    Column(name="traffic, MB", get="traffic_mb", digits=3),
    Column(name="weights, MB", get="weights_mb", digits=3),
    Column(name="saved, MB", get="saved_mb", digits=3),
    Column(name="FLOPs/byte", get="intensity_flops_per_byte", digits=2),
    Column(name="class", get="intensity_class", align="r"),
    Column(name="at least, ms", get="latency_bound_ms", digits=4),
    Column(name="bound by", get="bound", align="r"),
)
