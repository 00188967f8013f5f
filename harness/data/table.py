"""List the images of a table: a CSV of paths and labels, or Parquet files with images in them.

An error is one line that names the file and the line. This module imports no torch.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.folder import ImageList, Row, list_rows
from harness.data.image import EncodedImage
from harness.data.layouts import PARTS, named_parts
from harness.data.npz import DAMAGED
from harness.errors import RequestError

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
    found: dict[str, list[Row]] = {}
    seen: dict[str, int] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        cells = [row[column].strip() if column < len(row) else "" for column in columns]
        file, label, part = (*cells, "train")[:3]
        checks = (
            (len(row) != len(names), f"{len(row)} value(s) for {len(names)} columns"),
            (not all(cells), "an empty value"),
            (not (path.parent / file).is_file(), f"no file '{path.parent / file}'"),
            (part.lower() not in PARTS, f"part '{part}'; wanted train, test or val"),
            (file in seen, f"'{file}' stands on line {seen.get(file)}, too"),
        )
        problems = [words for wrong, words in checks if wrong]
        if problems:
            raise RequestError(f"{path}: line {number}: {problems[0]}")
        seen[file] = number
        part = PARTS[part.lower()]
        found.setdefault(part, []).append((path.parent / file, label, f"{part}/{label}/{file}"))
    return list_rows(found, None, str(path))


def _pick(known: Iterable[str], names: Sequence[str], where: str, what: str) -> int:
    """Return which column has one of the known names."""
    found = [index for index, name in enumerate(names) if name in known]
    if len(found) != 1:
        several = " and ".join(names[index] for index in found)
        raise RequestError(
            f"{where}: {several or 'none'} for the {what}; wanted one, called {', '.join(known)}"
        )
    return found[0]


def parquet_files(path: Path) -> dict[str, list[Path]]:
    """Return the Parquet files of a data set by part; empty where there are none.

    They are one file, or a folder in which each file's name tells its part, as Hugging Face
    (`data/train-00000-of-00001.parquet`) and TFDS write them.
    """
    if not path.is_dir():
        is_parquet = any(suffix.startswith(".parquet") for suffix in path.suffixes)
        return {"train": [path]} if is_parquet else {}
    found: dict[str, list[Path]] = {}
    for file in sorted([*path.glob("*.parquet*"), *path.glob("*/*.parquet*")]):
        parts = {*named_parts(file.name)}
        if len(parts) != 1:
            raise RequestError(f"{file}: its name should say one part: train, test or validation")
        found.setdefault(parts.pop(), []).append(file)
    return found


def list_parquet(files: Mapping[str, Sequence[Path]], where: str) -> ImageList:
    """Return the images of Parquet files, by part: a column of encoded images and one of labels."""
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise RequestError(
            f"{where}: Parquet files need pyarrow: python -m pip install pyarrow"
        ) from error
    rows: dict[str, list[Row]] = {}
    declared: list[tuple[str, ...]] = []
    for part, paths in files.items():
        for path in paths:
            try:
                table = parquet.read_table(path)
            except (*DAMAGED, NotImplementedError) as error:
                raise RequestError(f"{path}: not a Parquet file ({error})") from error
            declared.append(_declared_classes(table))
            rows.setdefault(part, []).extend(_parquet_rows(table, declared[-1], path, part))
    return list_rows(rows, declared[0], where)


def _parquet_rows(table: pa.Table, classes: Sequence[str], path: Path, part: str) -> list[Row]:
    """Return the images of a table, whose numbers for labels are places in `classes`."""
    from pyarrow import types

    where = f"{path}: columns {', '.join(f'{each.name} ({each.type})' for each in table.schema)}"
    images = [
        each.name
        for each in table.schema
        if types.is_binary(each.type)
        or types.is_large_binary(each.type)
        or (types.is_struct(each.type) and each.type.get_field_index("bytes") >= 0)
    ]
    if len(images) != 1:
        raise RequestError(f"{where}: wanted one column of encoded images, found {len(images)}")
    names = [name.lower() for name in table.column_names]
    column = table.schema[_pick(_LABELS, names, where, "classes")]
    texts = types.is_string(column.type) or types.is_large_string(column.type)
    if not (texts or types.is_integer(column.type)):
        raise RequestError(f"{where}: {column.name} is {column.type}; wanted integers or texts")
    rows: list[Row] = []
    cells, values = (table.column(name).to_pylist() for name in (images[0], column.name))
    for number, (cell, value) in enumerate(zip(cells, values, strict=True)):
        name = f"{path.name}, row {number}"
        data = cell["bytes"] if isinstance(cell, dict) else cell
        if not data or value is None:
            raise RequestError(f"{path}: row {number}: no image or no label in it")
        label = str(value)
        if classes and not texts:
            if not 0 <= value < len(classes):
                raise RequestError(
                    f"{path}: row {number}: label {value}; wanted 0 to {len(classes) - 1}"
                )
            label = classes[value]
        rows.append((EncodedImage(name=name, data=data), label, f"{part}/{label}/{name}"))
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
