"""List the images of a table: a CSV of paths and labels, or Parquet files with images in them.

An error is one line that names the file and the line. This module imports no torch.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.folder import ImageFiles, ImageList
from harness.data.image import EncodedImage, Picture
from harness.data.layouts import PARTS, number_labels, order_classes
from harness.data.npz import DAMAGED, check_classes
from harness.errors import RequestError, printable

if TYPE_CHECKING:
    import pyarrow as pa

_PATHS = (
    *("path", "file", "filename", "file_name", "filepath", "file_path"),
    *("image", "image_path", "img", "img_path"),
)
_LABELS = ("label", "labels", "class", "class_name", "category", "target", "y")
_SPLITS = ("split", "set", "subset", "part", "partition")


def list_csv(path: Path) -> ImageList:
    """Return the images of a CSV or TSV file with a header line.

    One column holds paths, relative to the file's folder, one the names of classes, and one, if
    there is such a column, the part: train, test or val.

    Raises:
        RequestError: A column cannot be told, or a line is not as it should be.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(f"{path}: not UTF-8 text ({error})") from error
    header = text.partition("\n")[0]
    delimiter = max("\t", ";", ",", key=header.count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise RequestError(f"{path}: not a table ({error})") from error
    names = [name.strip().lower() for name in rows[0]] if rows else []
    where = f"{path}: columns {', '.join(names[:8])}"
    columns = [_pick(_PATHS, names, where, "paths"), _pick(_LABELS, names, where, "classes")]
    if any(name in _SPLITS for name in names):
        columns.append(_pick(_SPLITS, names, where, "parts"))
    found: dict[str, list[tuple[str, str]]] = {}
    seen: dict[str, int] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        cells = [row[column].strip() if column < len(row) else "" for column in columns]
        file, label, part = (*cells, "train")[:3]
        problem = _line_problem(path.parent / file, cells, row, names)
        if not problem and part.lower() not in PARTS:
            problem = f"part '{part}'; wanted train, test or val"
        if not problem and file in seen:
            problem = f"'{file}' stands on line {seen[file]}, too"
        if problem:
            raise RequestError(f"{path}: line {number}: {problem}")
        seen[file] = number
        found.setdefault(PARTS[part.lower()], []).append((file, label))
    return _list(
        {
            part: [(path.parent / file, file, label) for file, label in rows]
            for part, rows in found.items()
        },
        None,
        str(path),
    )


def _line_problem(
    file: Path, cells: Sequence[str], row: Sequence[str], names: Sequence[str]
) -> str:
    if len(row) != len(names):
        return f"{len(row)} value(s) for {len(names)} columns"
    if not all(cells):
        return "an empty value"
    return "" if file.is_file() else f"no file '{file}'"


def _pick(known: Iterable[str], names: Sequence[str], where: str, what: str) -> int:
    """Return which column has one of the known names."""
    found = [index for index, name in enumerate(names) if name in known]
    if len(found) != 1:
        several = " and ".join(names[index] for index in found)
        raise RequestError(
            f"{where}: {several or 'none'} for the {what}; wanted one, called {', '.join(known)}"
        )
    return found[0]


def _list(
    rows: Mapping[str, Sequence[tuple[Picture, str, str]]],
    classes: Sequence[str] | None,
    where: str,
) -> ImageList:
    """Return images, by part, each with its name in the digest and its class, as a list."""
    if "train" not in rows:
        raise RequestError(f"{where}: no train images")
    order = [part for part in ("train", "test", "val") if part in rows]
    known = classes or order_classes(label for _, _, label in rows["train"])
    parts = {
        part: ImageFiles(
            files=tuple(file for file, _, _ in rows[part]),
            labels=number_labels([label for _, _, label in rows[part]], known, f"{where}: {part}"),
        )
        for part in order
    }
    names = tuple(map(printable, known))
    check_classes(names, where)
    return ImageList(
        classes=names,
        parts=parts,
        names=tuple(f"{part}/{label}/{name}" for part in order for _, name, label in rows[part]),
    )


def parquet_files(path: Path) -> dict[str, list[Path]]:
    """Return the Parquet files of a data set by part; empty where there are none.

    Args:
        path: One file, of one part, or a folder in which each file's name tells its part, as
            Hugging Face (`data/train-00000-of-00001.parquet`) and TFDS write them.

    Raises:
        RequestError: A file's name does not tell its part.
    """
    if not path.is_dir():
        return {"train": [path]} if _is_parquet(path) else {}
    found: dict[str, list[Path]] = {}
    for file in sorted([*path.glob("*.parquet*"), *path.glob("*/*.parquet*")]):
        words = re.split(r"[^a-z]+", file.name.lower())
        parts = {PARTS[word] for word in words if word in PARTS}
        if len(parts) != 1:
            raise RequestError(f"{file}: its name should say one part: train, test or validation")
        found.setdefault(parts.pop(), []).append(file)
    return found


def _is_parquet(path: Path) -> bool:
    return any(suffix.startswith(".parquet") for suffix in path.suffixes)


def list_parquet(files: Mapping[str, Sequence[Path]], where: str) -> ImageList:
    """Return the images of Parquet files, by part: a column of encoded images and one of labels.

    Raises:
        RequestError: pyarrow is missing, or a file or its columns are not as they should be.
    """
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise RequestError(
            f"{where}: Parquet files need pyarrow: python -m pip install pyarrow"
        ) from error
    tables: dict[str, list[tuple[Path, pa.Table]]] = {}
    for part, paths in files.items():
        for path in paths:
            try:
                tables.setdefault(part, []).append((path, parquet.read_table(path)))
            except (*DAMAGED, NotImplementedError) as error:
                raise RequestError(f"{path}: not a Parquet file ({error})") from error
    rows = {
        part: [row for path, table in read for row in _parquet_rows(table, path)]
        for part, read in tables.items()
    }
    first = next(iter(tables.values()))[0][1]
    return _list(rows, _declared_classes(first), where)


def _parquet_rows(table: pa.Table, path: Path) -> list[tuple[Picture, str, str]]:
    """Return the images of a table, each with its name and class."""
    import pyarrow as pa

    names = table.column_names
    types = [table.schema.field(name).type for name in names]
    where = f"{path}: columns {', '.join(f'{n} ({t})' for n, t in zip(names, types, strict=True))}"
    binary = (pa.types.is_binary, pa.types.is_large_binary)
    images = [
        name
        for name, kind in zip(names, types, strict=True)
        if any(check(kind) for check in binary)
        or (pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0)
    ]
    if len(images) != 1:
        raise RequestError(f"{where}: wanted one column of encoded images, found {len(images)}")
    column = names[_pick(_LABELS, [name.lower() for name in names], where, "classes")]
    kind = table.schema.field(column).type
    texts = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not (texts or pa.types.is_integer(kind)):
        raise RequestError(f"{where}: {column} is {kind}; wanted integers or texts")
    cells, values = table.column(images[0]).to_pylist(), table.column(column).to_pylist()
    classes = _declared_classes(table)
    rows: list[tuple[Picture, str, str]] = []
    for number, (cell, value) in enumerate(zip(cells, values, strict=True)):
        data = cell["bytes"] if isinstance(cell, dict) else cell
        if not data or value is None:
            raise RequestError(f"{path}: row {number}: no image or no label in it")
        named = bool(classes) and not texts
        if named and not 0 <= value < len(classes):
            raise RequestError(
                f"{path}: row {number}: label {value}; wanted 0 to {len(classes) - 1}"
            )
        name = f"{path.name}, row {number}"
        label = classes[value] if named else str(value)
        rows.append((EncodedImage(name=name, data=data), name, label))
    return rows


def _declared_classes(table: pa.Table) -> tuple[str, ...]:
    """Return the class names that Hugging Face's `datasets` writes beside a label column."""
    text: bytes = (table.schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        features: dict[str, Any] = json.loads(text).get("info", {}).get("features", {})
        found = [
            feature["names"]
            for name, feature in features.items()
            if name.lower() in _LABELS and isinstance(feature.get("names"), list)
        ]
    except (ValueError, AttributeError):
        return ()
    return tuple(map(str, found[0])) if len(found) == 1 else ()
