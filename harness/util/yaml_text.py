"""Read YAML that a user has written: whatever is wrong with it is one line."""

from __future__ import annotations

from functools import cache
from itertools import chain
from typing import Any

import yaml

from harness.errors import RequestError

_DEEPEST, _MOST_VALUES = 20, 10_000


def parse_yaml(text: str, where: str) -> Any:
    """Return what a YAML text holds.

    Raises:
        RequestError: It is no YAML, is nested too deeply, has a value that is out of its type's
            range, or aliases that make too much of a short text.
    """
    try:
        return _load(text)
    except RecursionError:
        reason = "nested too deeply"
    except (ValueError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        reason = f"{line}not YAML: {getattr(error, 'problem', None) or error}".splitlines()[0]
    raise RequestError(f"{where}: {reason}")


# All models share default.yaml, and parsing is slow.
@cache
def _load(text: str) -> Any:
    tree = yaml.safe_load(text)
    level, deep, seen = [tree], 0, 0
    while level:
        deep, seen = deep + 1, seen + len(level)
        if deep > _DEEPEST or seen > _MOST_VALUES:
            raise ValueError(
                f"more than {_DEEPEST} levels or {_MOST_VALUES} values: nested too deeply, or by "
                "aliases that recur"
            )
        maps = chain.from_iterable(each.values() for each in level if isinstance(each, dict))
        lists = chain.from_iterable(each for each in level if isinstance(each, list))
        level = [*maps, *lists]
    return tree
