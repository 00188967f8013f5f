"""Networks that run on other numbers than float: what the harness asks of one, whatever it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import nn


@runtime_checkable
class ConvertedNetwork(Protocol):
    """A network whose layers no counter, tracer or meta device knows.

    Its `state_dict` holds all its weights as plain tensors.

    Attributes:
        precision: Of its products, e.g. int8.
        kernels: What runs them, in words.
    """

    precision: str
    kernels: str

    def float_network(self) -> nn.Module:
        """Return a float network with the same layers, without data: operations are its."""
