"""The networks to compare, one folder each with a `model.py`, and families of networks by name.

    from monolithic_architectures import create_model
    network = create_model({"architecture": "resnet18", "num_classes": 10})

docs/architectures.md describes the families. Torch is loaded when a function is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.networks.freezing import freeze_backbone
    from monolithic_architectures.families import (
        create_efficientnet,
        create_model,
        create_resnet,
        create_vit,
    )

__all__ = [
    "create_efficientnet",
    "create_model",
    "create_resnet",
    "create_vit",
    "freeze_backbone",
]


def __getattr__(name: str) -> object:
    """Import one of the functions on first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "harness.networks.freezing" if name == "freeze_backbone" else f"{__name__}.families"
    return getattr(importlib.import_module(home), name)
