"""Hash JSON trees so that options that are switched off do not count."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

# Options with another value that means "switched off"; elsewhere it is a value.
_ABSENT_VALUES = {
    "beam": 1,
    "beam_threshold": 0,
    "freeze_layers": 0,
    "fp32_precision": "ieee",
    "norm_statistics": "sync",
    "processes": 1,
    "root_layers": "root",
    "teacher_layers": "flat",
    "test_seed": 0,
}


def hash_json(tree: object) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a tree's canonical JSON.

    What is None, false or empty is left out: an option that is added later, switched off unless
    asked for, changes no hash.
    """
    text = json.dumps(without_absent(tree), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def without_absent(tree: Any) -> Any:
    """Return a tree without the entries of its mappings that are None, false or empty."""
    if isinstance(tree, Mapping):
        kept = {}
        for key, value in tree.items():
            entry = without_absent(value)
            absent = entry is None or entry is False or entry in ({}, [])
            if not (absent or (key in _ABSENT_VALUES and entry == _ABSENT_VALUES[key])):
                kept[key] = entry
        return kept
    if isinstance(tree, (list, tuple)):
        return [without_absent(value) for value in tree]
    return tree
