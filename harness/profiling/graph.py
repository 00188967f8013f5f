"""The operators of one forward pass, and which of them wait for which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One operator of a forward pass, with what it computes and moves.

    Attributes:
        name: An ATen operator without its overload, such as "conv2d"; in the published accounting
            the class of a module, or a function; in an ONNX file the node's type.
        module: The qualified name of the module that runs it; the network itself is "".
        macs: Multiply-accumulates of convolutions, matrix products and attention products.
        flops: Floating-point operations, two to a multiply-accumulate.
        input_bytes: What it reads besides weights: parameters and buffers.
        channels: What a convolution or linear layer puts out; None for other operators.
        predecessors: Positions of the operators whose results it reads, all before its own.
        activations: The elements that a convolution, linear layer or matrix product writes.
    """

    name: str
    module: str
    macs: int
    flops: int
    input_bytes: int
    output_bytes: int
    weight_bytes: int
    channels: int | None
    predecessors: tuple[int, ...]
    output_shapes: tuple[tuple[int, ...], ...] = ()
    activations: int = 0

    @property
    def traffic_bytes(self) -> int:
        """All bytes that it reads and writes."""
        return self.input_bytes + self.output_bytes + self.weight_bytes

    @property
    def intensity(self) -> float:
        """FLOPs per byte; 0 where nothing is moved."""
        return self.flops / self.traffic_bytes if self.traffic_bytes else 0.0


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The operators of a forward pass, in the order in which they run.

    Attributes:
        operators: Each stands after those that it waits for.
        results: Positions of the operators whose results the network returns.
        unknown: Names of operators without a formula, whose FLOPs count as 0.
        uncounted: Names of operators that multiply and have no formula: the graph's operations
            are not known then.
    """

    operators: tuple[Operator, ...]
    results: frozenset[int]
    unknown: tuple[str, ...] = ()
    uncounted: tuple[str, ...] = ()

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """The level of each operator: 1 + the highest of those that it waits for."""
        return self._heaviest_chains([1] * len(self.operators))

    @property
    def depth(self) -> int:
        """The number of operators on the longest chain."""
        return max(self.levels, default=0)

    @property
    def critical_flops(self) -> int:
        """The most FLOPs on any chain of operators that wait for one another."""
        return max(self._heaviest_chains([each.flops for each in self.operators]), default=0)

    def _heaviest_chains(self, weights: Sequence[int]) -> tuple[int, ...]:
        """Return the largest sum of weights along a chain that ends at each operator."""
        sums: list[int] = []
        for operator, weight in zip(self.operators, weights, strict=True):
            sums.append(weight + max((sums[p] for p in operator.predecessors), default=0))
        return tuple(sums)

    @property
    def max_width(self) -> int | None:
        """The most channels of any layer but the last ones; None without such layers."""
        # From the last layers, those of the logits, no other layer leads to a result.
        every = ((place, each.channels) for place, each in enumerate(self.operators))
        widths = {place: channels for place, channels in every if channels is not None}
        seen, waiting = set(self.results), list(self.results)
        while waiting:
            position = waiting.pop()
            if widths.pop(position, None) is None:
                waiting += set(self.operators[position].predecessors) - seen
                seen.update(self.operators[position].predecessors)
        return max(widths.values(), default=None)
