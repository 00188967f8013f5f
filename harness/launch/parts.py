"""The parts of a request as jobs for other processes: JSON, named by a hash."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.jobs import Part, Request
from harness.util.hashing import hash_json

if TYPE_CHECKING:
    from pydantic import TypeAdapter

# They change how a part is run and shown, and not what it is.
_NOT_IN_KEY = ("force", "offline", "verbose")


def part_of(
    request: Request, title: str, dataset: str, models: list[str], *, exclusive: bool = False
) -> Part:
    """Return the part of a request for one data set and some models, which can run anywhere."""
    own = dataclasses.replace(
        request,
        datasets=[dataset] if request.datasets else [],
        models=models,
        launcher="local",
        launcher_config=None,
        retry=0,
        fair="",
    )
    paths: dict[str, Any] = {
        name: value.absolute() for name, value in vars(own).items() if isinstance(value, Path)
    }
    own = dataclasses.replace(own, **paths)
    tree = _adapter().dump_python(own, mode="json")
    key = hash_json({name: value for name, value in tree.items() if name not in _NOT_IN_KEY})
    model = models[0] if len(models) == 1 else ""
    return Part(title=title, request=own, key=key, model=model, exclusive=exclusive)


@cache
def _adapter() -> TypeAdapter[Request]:
    from pydantic import TypeAdapter

    return TypeAdapter(Request)
