"""The zoo by its costs: every architecture of the libraries counted, in one table."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from harness.errors import RequestError
from harness.profiling.analysis import analyse_all
from harness.profiling.catalogue import look_up, write_catalogue
from harness.profiling.names import LIBRARIES, ModelName, known_names
from harness.profiling.publishers import torchvision_accuracy
from harness.profiling.report import describe_row
from harness.profiling.request import Options
from harness.profiling.zoo_page import describe_rows, describe_table, render_zoo_page
from harness.profiling.zoo_table import (
    FIELDS,
    TABLE,
    VERSIONS,
    ZOO,
    read_versions,
    read_zoo,
    to_dicts,
)
from harness.report.table import write_csv
from harness.util.files import write_text

COUNTING = 1
"""Raised when a network gets other figures than before, though the libraries are the same."""

_PART = "models.part.jsonl"
_DIGITS = 6


def installed_versions() -> dict[str, str | int]:
    """Return what the figures depend on."""
    libraries = ("torch", *LIBRARIES.values())
    return {"counting": COUNTING} | {name: importlib.metadata.version(name) for name in libraries}


def zoo_names() -> list[ModelName]:
    """Return all models of the table, in its order."""
    return [
        ModelName(source=source, name=name) for source in LIBRARIES for name in known_names(source)
    ]


def count_model(name: ModelName) -> list[dict[str, Any]]:
    """Return the rows of the table for one model: one, or one for each of its forms."""
    published, rows = torchvision_accuracy(name), []
    for row in analyse_all([name], Options()):
        figures = {**describe_row(row), "source": name.source, **published}
        figures["image_size"] = figures["image_size"] and str(figures["image_size"])
        unknown = figures["operators_without_formula"] or ()
        figures["operators_without_formula"] = " ".join(unknown) or None
        rows.append({field: _short(figures.get(field)) for field in FIELDS})
    return rows


def update_zoo(again: Sequence[ModelName] | None = None, folder: Path = ZOO) -> Iterator[ModelName]:
    """Count models and write the table, yielding each before it is counted.

    An interrupted run goes on where it stopped, if nothing that figures depend on has changed. Only
    the rows of `again` are made again, if it is given; RequestError: others are of other libraries.
    """
    names, wanted = zoo_names(), installed_versions()
    if again is not None:
        _check_versions(folder)
    folder.mkdir(parents=True, exist_ok=True)
    done = _read_part(folder / _PART, wanted)
    with (folder / _PART).open("a", encoding="utf-8") as part:
        for name in names if again is None else again:
            if str(name) not in done:
                yield name
                done[str(name)] = count_model(name)
                entry = {"versions": wanted, "model": str(name), "rows": done[str(name)]}
                part.write(json.dumps(entry) + "\n")
                part.flush()
    rows = done if again is None else _rows_by_model(folder) | done
    write_text(folder / TABLE, write_csv(row for name in names for row in rows.get(str(name), ())))
    write_text(folder / VERSIONS, json.dumps(wanted, indent=1) + "\n")
    page = render_zoo_page(describe_rows(read_zoo(folder)), [describe_table(wanted)])
    write_text(folder / "index.html", page)
    for library in LIBRARIES.values():
        write_catalogue(folder / "names" / f"{library}.json", look_up(library))
    (folder / _PART).unlink()


def differing_models(names: Sequence[ModelName], folder: Path = ZOO) -> list[str]:
    """Count models again and return a line for each whose rows in the table are others.

    RequestError: the table was made with other libraries.
    """
    _check_versions(folder)
    rows = _rows_by_model(folder)
    again = {str(name): count_model(name) for name in names}
    return [
        f"{name}: {field}: {old.get(field)} in the table, {new[field]} now"
        for name, counted in again.items()
        for old, new in zip_longest(rows.get(name, ()), counted, fillvalue=dict.fromkeys(FIELDS))
        for field in FIELDS
        if old[field] != new[field]
    ]


def _check_versions(folder: Path) -> None:
    made = read_versions(folder)
    if made != (installed := installed_versions()):
        raise RequestError(f"{folder / TABLE} was made with {made}, here are {installed}")


def _read_part(path: Path, wanted: dict[str, str | int]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows that interrupted runs have made with the same versions."""
    rows = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):  # a line that was cut off
            entry = json.loads(line)
            if entry["versions"] == wanted:
                rows[entry["model"]] = entry["rows"]
    return rows


def _rows_by_model(folder: Path) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in to_dicts(read_zoo(folder)):
        rows.setdefault(row["model"], []).append({name: _short(row[name]) for name in FIELDS})
    return rows


def _short(value: Any) -> Any:
    """Return a number with so many digits as the table has; whole ones stay as they are."""
    if not isinstance(value, float):
        return value
    return int(value) if value.is_integer() else float(f"{value:.{_DIGITS}g}")
