"""The roofline model: no operator runs faster than its arithmetic or its traffic allows.

Williams, Waterman and Patterson, "Roofline", Communications of the ACM 52(4), 2009,
doi:10.1145/1498765.1498785.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.profiling.graph import Operator


@dataclass(frozen=True, kw_only=True)
class Roof:
    """What a device does at most.

    Attributes:
        precision: The type of number that the peak holds for.
        peak_gflops_per_s: 10^9 floating-point operations a second.
        bandwidth_gb_per_s: 10^9 bytes a second, read and written, of its main memory.
        source: Where the two figures are from.
    """

    name: str
    precision: str
    peak_gflops_per_s: float
    bandwidth_gb_per_s: float
    source: str

    @property
    def ridge_flops_per_byte(self) -> float:
        """The intensity above which arithmetic is the limit."""
        return self.peak_gflops_per_s / self.bandwidth_gb_per_s

    def attainable_gflops_per_s(self, intensity: float) -> float:
        """Return the most that an operator of this intensity, in FLOPs per byte, can reach."""
        return min(self.peak_gflops_per_s, intensity * self.bandwidth_gb_per_s)

    def compute_ms(self, operator: Operator) -> float:
        """Return the milliseconds that the arithmetic takes at least."""
        return operator.flops / self.peak_gflops_per_s / 1e6

    def memory_ms(self, operator: Operator) -> float:
        """Return the milliseconds that reading and writing take at least."""
        return operator.traffic_bytes / self.bandwidth_gb_per_s / 1e6

    def bound_ms(self, operator: Operator) -> float:
        """Return the milliseconds that an operator takes at least."""
        return max(self.compute_ms(operator), self.memory_ms(operator))


def latency_bound_ms(operators: Iterable[Operator], roof: Roof) -> float:
    """Return the milliseconds that operators take at least, one after the other."""
    return sum(roof.bound_ms(operator) for operator in operators)


def memory_bound_percent(operators: Iterable[Operator], roof: Roof) -> float:
    """Return the part of that time that is due to operators whose traffic is the limit."""
    each = [(roof.bound_ms(o), roof.memory_ms(o) > roof.compute_ms(o)) for o in operators]
    total = sum(ms for ms, _ in each)
    return 100 * sum(ms for ms, limited in each if limited) / total if total else 0.0
