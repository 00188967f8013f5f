"""Networks that send images different ways: what the harness asks of one, whatever it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class NetworkPath:
    """One of the ways that images take through a routed network.

    Attributes:
        name: Of the path.
        classes: Those that an image can be sent to on it.
        network: What an image runs on it: maps 1×C×H×W to logits.
    """

    name: str
    classes: tuple[int, ...]
    network: nn.Module


@runtime_checkable
class RoutedNetwork(Protocol):
    """A network that sends images different ways, so that they differ in cost."""

    def prepare_for_inference(self) -> nn.Module:
        """Return a copy that is made for inference alone, a routed network too."""

    def route(self, images: Tensor) -> Tensor:
        """Return the class, int64 N, that each of N×C×H×W images is sent to."""

    def paths(self) -> tuple[NetworkPath, ...]:
        """Return all the ways; every class is on exactly one."""
