"""Stores of records: JSON files of one frozen dataclass each, written whole and read strictly."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_type_hints

from harness.errors import RequestError
from harness.util.files import regular_file, write_text

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

STRICT = {"extra": "forbid", "allow_inf_nan": False}
"""The `__pydantic_config__` of a dataclass whose files are read here; its parts inherit it."""

T = TypeVar("T")
Tree = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Store(Generic[T]):
    """All files of one kind of record below a results folder.

    Attributes:
        kind: Name of such a file in messages ("record").
        cls: The dataclass that a file holds; `schema` is among its fields.
        schema: The version of the layout that this version of the project writes.
        pattern: Matches the files below a results folder.
        place: Returns where a record belongs below a results folder; None where its contents do
            not say.
        migrate: Turns the fields of the schema before into those of this one, if it can.
        contradictions: Yields what cannot be true together in a record.
    """

    kind: str
    cls: type[T]
    schema: int
    pattern: str = ""
    place: Callable[[T], Path] | None = None
    migrate: Callable[[Tree], Tree] | None = None
    contradictions: Callable[[T], Iterator[str]] = lambda _: iter(())

    def write(self, results: Path, record: T, place: Path | None = None) -> Path:
        """Write a record atomically in place of an earlier one, and return its path.

        Where the contents of a record do not say where it belongs, `place` does.
        """
        path = results / (place or self.locate(record))
        write_text(path, _to_text(dataclasses.asdict(record)))  # type: ignore[call-overload]
        return path

    def read(self, path: Path) -> T:
        """Read a file; one of an older schema is migrated in memory.

        Raises:
            RequestError: It cannot be read, is no JSON, has a newer schema, fields that are
                missing, foreign, of another type or out of range, or contradicts itself.
        """
        from pydantic import ValidationError

        try:
            record = self._validate(path, regular_file(path).read_bytes())
            wrong = next(self.contradictions(record), None)
        except OSError as error:
            raise RequestError(f"{path}: cannot be read ({error.strerror})") from None
        except ValidationError as error:
            wrong = explain_validation(error)
        if wrong is not None:
            raise RequestError(
                f"{path}: not a {self.kind} ({wrong}); mend it, or delete it and run again"
            )
        return record

    def parse(self, fields: Tree) -> T:
        """Return the record that has these fields, as JSON holds them, or raise ValidationError."""
        return self._adapter.validate_json(json.dumps(fields), strict=True)

    def read_all(self, results: Path) -> list[T]:
        """Return all records in the order of their paths; refuse one that is out of place."""
        return [self._read_in_place(results, path) for path in sorted(results.glob(self.pattern))]

    def read_good(self, results: Path) -> tuple[list[T], list[str]]:
        """Return all records that can be read, and a line on each file that is none."""
        good: list[T] = []
        broken: list[str] = []
        for path in sorted(results.glob(self.pattern)):
            try:
                good.append(self._read_in_place(results, path))
            except RequestError as error:
                broken.append(str(error))
        return good, broken

    def find(self, results: Path, place: Path) -> T | None:
        """Return the record at a place relative to the results folder, if there is one."""
        path = results / place
        return self._read_in_place(results, path) if path.exists() else None

    def _read_in_place(self, results: Path, path: Path) -> T:
        record = self.read(path)
        wanted = results / self.locate(record)
        if path != wanted:
            there = ", where there is another" if wanted.exists() else ""
            raise RequestError(
                f"{path}: by its contents it belongs to {wanted}{there}; move or delete it"
            )
        return record

    def locate(self, record: T) -> Path:
        """Return where a record belongs below a results folder, by its contents."""
        if self.place is None:
            raise ValueError(f"the contents of a {self.kind} do not say where it belongs")
        return self.place(record)

    def address(self, record: T) -> str:
        """Return the name of a record for users: `digits/resnet-cpu`, `costs/digits/resnet-32`."""
        return address_of(self.locate(record).as_posix())

    def _validate(self, path: Path, text: bytes) -> T:
        from pydantic import ValidationError

        try:
            return self._adapter.validate_json(text, strict=True)
        except ValidationError:
            fields = self._migrate(path, text)
            if fields is None:
                raise
        return self.parse(fields)

    def _migrate(self, path: Path, text: bytes) -> Tree | None:
        """Return the fields of an older schema's file as today's; None where it is no such file."""
        try:
            fields = json.loads(text)
        except (RecursionError, ValueError):
            return None
        found = fields.get("schema") if isinstance(fields, dict) else None
        if type(found) is not int:
            return None
        if found > self.schema:
            raise RequestError(
                f"{path}: schema {found}, this version reads {self.schema}: it is of a newer "
                "version, which is needed to read it"
            )
        if found != self.schema - 1 or self.migrate is None:
            return None
        return {**self.migrate(fields), "schema": self.schema}

    @cached_property
    def _adapter(self) -> TypeAdapter[T]:
        from pydantic import TypeAdapter

        # Made once, because making it takes longer than reading a file.
        return TypeAdapter(self.cls)


def address_of(path: str) -> str:
    """Return the name that users have for a record, by its path below the results folder."""
    return path.removesuffix(".json").removeprefix("records/")


def parts_of(cls: type) -> dict[str, type]:
    """Return the fields of a record that are dataclasses themselves, with their classes."""
    return {
        name: kind
        for name, kind in get_type_hints(cls).items()
        if isinstance(kind, type) and dataclasses.is_dataclass(kind)
    }


def nest_parts(cls: type, fields: Tree) -> Tree:
    """Return the flat fields of schema 1 with those of each part in a tree of their own."""
    rest, nested = dict(fields), dict[str, Tree]()
    for part, kind in parts_of(cls).items():
        names = [field.name for field in dataclasses.fields(kind)]
        nested[part] = {name: rest.pop(name) for name in names if name in rest}
    return rest | nested


def _to_text(fields: Tree) -> str:
    """Return JSON with a line for each field of each part, in their order."""
    lines = [f"  {json.dumps(name)}: {_value(value)}" for name, value in fields.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _value(value: object) -> str:
    if isinstance(value, dict) and value:
        lines = [f"    {json.dumps(name)}: {_json(each)}" for name, each in value.items()]
        return "{\n" + ",\n".join(lines) + "\n  }"
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(f"    {_json(each)}" for each in value) + "\n  ]"
    return _json(value)


def _json(value: object) -> str:
    return json.dumps(value, allow_nan=False)


def explain_validation(error: ValidationError) -> str:
    """Return the place of the first mistake in a file, and what is wrong there, in one line."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]
