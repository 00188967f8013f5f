"""What is known of a network, and its operators grouped by the module that runs them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.profiling.graph import Graph, Operator
from harness.profiling.hardware import Roof, latency_bound_ms, memory_bound_percent
from harness.profiling.metrics import Metrics, classify_intensity


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What the operators of one module take together.

    Attributes:
        module: The module's qualified name; the network itself is "".
        operators: The names of the operators, such as "conv2d, 2× relu".
        output: The shape of what its last operator writes, such as "1×64×112×112".
        params: The elements of its own parameters, and of those of modules in it that run nothing.
        traffic_mb: What they read and write, in 10^6 bytes; `weights_mb` is the weights' part.
        saved_mb: What autograd keeps of them until the backward pass, in 10^6 bytes; None where
            the network cannot be trained on such inputs.
        latency_bound_ms: The least time that they take; None without hardware.
        bound: What most of that time is due to, "compute" or "memory"; None without hardware.
    """

    module: str
    operators: str
    output: str
    params: int
    macs: int
    flops: int
    traffic_mb: float
    weights_mb: float
    saved_mb: float | None
    intensity_flops_per_byte: float
    intensity_class: str
    latency_bound_ms: float | None
    bound: str | None


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What is known of a network for some inputs.

    Attributes:
        graph: The operators of a forward pass.
        tensors: Names and shapes of its parameters and buffers, by name.
        outputs: The shapes of the tensors that it returns.
        parameters: The number of elements of each parameter, by its first name.
        saved_bytes: The bytes that autograd keeps for the backward pass, by module; None where
            that was not asked for, or the network cannot be trained on such inputs.
    """

    graph: Graph
    metrics: Metrics
    tensors: tuple[tuple[str, tuple[int, ...]], ...]
    outputs: tuple[tuple[int, ...], ...] = ()
    parameters: Mapping[str, int] | None = None
    saved_bytes: Mapping[str, int] | None = None

    def layers(self, depth: int | None = None, roof: Roof | None = None) -> list[Layer]:
        """Return the layers, by the first `depth` parts of modules' names."""
        return group_layers(self.graph, roof, self.parameters, self.saved_bytes, depth)


def group_layers(
    graph: Graph,
    roof: Roof | None,
    parameters: Mapping[str, int] | None = None,
    saved_bytes: Mapping[str, int] | None = None,
    depth: int | None = None,
) -> list[Layer]:
    """Return a layer for each module that runs operators itself, in the order they first do.

    `depth` parts of modules' names tell layers apart, as 2 makes one layer of all of "layer1.0";
    None: all. The others are as in `Profile`; without a roof there are no times.
    """

    def cut(module: str) -> str:
        return ".".join(module.split(".")[:depth])

    groups: dict[str, list[Operator]] = {}
    for operator in graph.operators:
        groups.setdefault(cut(operator.module), []).append(operator)
    params, saved = Counter[str](), Counter[str]()
    for name, elements in (parameters or {}).items():
        params[_nearest(cut(name.rpartition(".")[0]), groups)] += elements
    for module, count in (saved_bytes or {}).items():
        saved[_nearest(cut(module), groups)] += count
    for module in (*params, *saved):
        groups.setdefault(module, [])
    return [
        _layer(name, operators, roof, params[name], None if saved_bytes is None else saved[name])
        for name, operators in groups.items()
    ]


def sum_layers(layers: Sequence[Layer], operators: Sequence[Operator], roof: Roof | None) -> Layer:
    """Return the layer that stands for all: that of the whole network."""
    saved = [layer.saved_mb for layer in layers if layer.saved_mb is not None]
    saved_bytes = round(sum(saved) * 1e6) if len(saved) == len(layers) else None
    params = sum(layer.params for layer in layers)
    whole = _layer("total", operators, roof, params, saved_bytes)
    return replace(whole, operators=f"{len(operators)} operators")


def _nearest(module: str, groups: Mapping[str, object]) -> str:
    """Return the module, or the innermost one around it that runs operators."""
    found = module
    while found and found not in groups:
        found = found.rpartition(".")[0]
    return found if found in groups else module


def _layer(
    module: str,
    operators: Sequence[Operator],
    roof: Roof | None,
    params: int,
    saved_bytes: int | None,
) -> Layer:
    flops = sum(operator.flops for operator in operators)
    traffic = sum(operator.traffic_bytes for operator in operators)
    intensity = flops / traffic if traffic else 0.0
    names = Counter(operator.name for operator in operators)
    shapes = operators[-1].output_shapes if operators else ()
    bound = None
    if roof:
        bound = "memory" if memory_bound_percent(operators, roof) > 50 else "compute"
    return Layer(
        module=module,
        operators=", ".join(f"{count}× {n}" if count > 1 else n for n, count in names.items()),
        output=", ".join("×".join(map(str, shape)) for shape in shapes),
        params=params,
        macs=sum(operator.macs for operator in operators),
        flops=flops,
        traffic_mb=traffic / 1e6,
        weights_mb=sum(operator.weight_bytes for operator in operators) / 1e6,
        saved_mb=saved_bytes / 1e6 if saved_bytes is not None else None,
        intensity_flops_per_byte=intensity,
        intensity_class=classify_intensity(intensity),
        latency_bound_ms=latency_bound_ms(operators, roof) if roof else None,
        bound=bound,
    )
