"""Files of JSON that hold one frozen dataclass, read strictly: what is wrong is named."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from harness.errors import RequestError

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

logger = logging.getLogger(__name__)

STRICT = {"extra": "forbid", "allow_inf_nan": False}
"""The `__pydantic_config__` of a dataclass whose files are read here."""

T = TypeVar("T")
_ADAPTERS: dict[type, TypeAdapter[Any]] = {}


class OutdatedError(RequestError):
    """A file of an older version of this project, which running its command again replaces."""


def read_stored(path: Path, cls: type[T], kind: str, schema: int) -> T:
    """Read a file that holds the fields of a dataclass, `schema` among them.

    Args:
        path: The file.
        cls: The dataclass; its `__pydantic_config__` is `STRICT`.
        kind: What the file ought to be, for the message ("record").
        schema: The version of the layout that this version of the project writes.

    Raises:
        OutdatedError: It has an older layout.
        RequestError: It cannot be read, is no JSON, has a newer layout, or fields that are
            missing, foreign or of another type.
    """
    from pydantic import ValidationError

    try:
        text = path.read_bytes()
        found = _adapter(cls).validate_json(text, strict=True)
    except OSError as error:
        raise RequestError(f"{path}: cannot be read ({error.strerror})") from None
    except ValidationError as error:
        _check_schema(path, text, schema)
        raise RequestError(
            f"{path}: not a {kind} ({_explain(error)}); mend it, or delete it and run again"
        ) from None
    _check_schema(path, text, schema, getattr(found, "schema", None))
    return found


def read_all(
    paths: Iterable[Path], read: Callable[[Path], T], place: Callable[[T], Path]
) -> list[T]:
    """Read files in the order of their paths; outdated ones are named in the log and left out.

    Args:
        paths: Of the files.
        read: Reads one, as `read_stored`.
        place: Where a file with such contents belongs.

    Raises:
        RequestError: As `read_stored`, or a file is a copy that lies where it does not belong.
    """
    found = []
    for path in sorted(paths):
        try:
            each = read(path)
        except OutdatedError as error:
            logger.warning("left out: %s", error)
            continue
        check_place(path, place(each))
        found.append(each)
    return found


def check_place(path: Path, wanted: Path) -> None:
    """Make sure that a file lies where its contents belong, so that no cell is there twice.

    Raises:
        RequestError: It does not.
    """
    if path != wanted:
        there = ", where there is another" if wanted.exists() else ""
        raise RequestError(
            f"{path}: by its contents it belongs to {wanted}{there}; move or delete it"
        )


def _adapter(cls: type[T]) -> TypeAdapter[T]:
    """Return what validates a class; made once, because making it takes longer than reading."""
    from pydantic import TypeAdapter

    if cls not in _ADAPTERS:
        _ADAPTERS[cls] = TypeAdapter(cls)
    return _ADAPTERS[cls]


def _check_schema(path: Path, text: bytes, wanted: int, found: object = None) -> None:
    """Raise the error of another version's file, if it is one."""
    if found is None:
        try:
            fields: Any = json.loads(text)
        except ValueError:
            return
        if not isinstance(fields, dict) or "schema" not in fields:
            return
        found = fields["schema"]
    if isinstance(found, bool) or not isinstance(found, int) or found == wanted:
        return
    message = f"{path}: schema {found}, this version reads {wanted}"
    if found < wanted:
        raise OutdatedError(f"{message}; run its command again (CHANGELOG.md says why)")
    raise RequestError(f"{message}: it is of a newer version, which is needed to read it")


def _explain(error: ValidationError) -> str:
    """Return the first thing that is wrong, and where."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]
