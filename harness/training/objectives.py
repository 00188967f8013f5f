"""Objectives: the losses that training minimises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn


class Objective(Protocol):
    """A loss that training minimises."""

    def __call__(self, network: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean loss of a batch, and which of its N images the network has right."""


@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """Cross entropy of N×K logits, the targets smoothed."""

    label_smoothing: float

    def __call__(self, network: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and which images are right, as `Objective` says."""
        logits = network(inputs).float()
        loss = nn.functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        return loss, logits.argmax(1) == labels
