"""Records of older schemas, turned into those of today."""

from __future__ import annotations

import dataclasses
from typing import Any

from harness.jobs import Cell
from harness.records.parts import (
    Accuracy,
    Data,
    Energy,
    Latency,
    Machine,
    Memory,
    Operations,
    Provenance,
    Throughput,
    UsedSettings,
    Weights,
)

Tree = dict[str, Any]

PARTS: dict[str, type] = {
    "cell": Cell,
    "settings": UsedSettings,
    "weights": Weights,
    "data": Data,
    "accuracy": Accuracy,
    "latency": Latency,
    "throughput": Throughput,
    "memory": Memory,
    "operations": Operations,
    "energy": Energy,
    "machine": Machine,
    "provenance": Provenance,
}
"""The parts of a cell's record whose fields were its own fields in schema 1."""


def nest_cell(fields: Tree) -> Tree:
    """Return a cell's record of schema 1, which was flat, in parts (schema 2)."""
    fields = fields | {name: fields.get(name) or None for name in ("compression", "load")}
    return _nest(fields, PARTS)


def nest_latency(fields: Tree) -> Tree:
    """Return a comparison of latencies of schema 1 with its machine and provenance as parts."""
    return _nest(fields, {"machine": Machine, "provenance": Provenance})


def nest_cost(fields: Tree) -> Tree:
    """Return counted costs of schema 1 with their provenance as a part."""
    return _nest(fields, {"provenance": Provenance})


def _nest(fields: Tree, parts: dict[str, type]) -> Tree:
    """Move the fields of some parts out of a flat tree into a tree for each part."""
    nested: Tree = {}
    rest = dict(fields)
    for part, cls in parts.items():
        names = [field.name for field in dataclasses.fields(cls)]
        nested[part] = {name: rest.pop(name) for name in names if name in rest}
    return rest | nested
