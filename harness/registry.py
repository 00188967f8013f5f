"""Find models and data sets by the names of their files, and import those that are asked for."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import ModuleType

from harness.errors import RequestError, unknown_name
from harness.spec import CompressedSpec, DatasetSpec
from harness.util.source import code_digest

ROOT = Path(__file__).resolve().parent.parent
REFERENCE_RESULTS = ROOT / "results"
"""The results that come with the project; a user's own are in `results/own/`."""


def model_files(root: Path = ROOT) -> dict[str, Path]:
    """Return every model's name and file: the folders that hold a `model.py`, by name."""
    files = {p.parent.name: p for p in sorted(root.glob("monolithic_architectures/*/model.py"))}
    trunk = root / "trunk" / "model.py"
    return files | ({"trunk": trunk} if trunk.exists() else {})


def dataset_files(root: Path = ROOT) -> dict[str, Path]:
    """Return every data set's name and file."""
    found = sorted(root.glob("datasets/*.py"))
    return {path.stem: path for path in found if not path.stem.startswith("_")}


def describe(path: Path) -> str:
    """Return the first line of a file's docstring, without running the file."""
    try:
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    except SyntaxError as error:
        return f"(broken: line {error.lineno}: {error.msg})"
    return docstring.splitlines()[0] if docstring else "(no description)"


def native_image_size(path: Path) -> int | None:
    """Return the image size in the SPEC of a model's file, without running the file.

    It is None where it is not written as a number.
    """
    try:
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    except SyntaxError:
        return None
    for node in nodes:
        match node:
            case ast.keyword(arg="image_size", value=ast.Constant(value=value)):
                return value if isinstance(value, int) else None
    return None


def base_name(name: str) -> str:
    """Return the name of the model that a compressed one is made from; empty for any other."""
    files = model_files()
    # Files that do not name the class are not imported, because most of them import torch.
    if name not in files or CompressedSpec.__name__ not in files[name].read_text(encoding="utf-8"):
        return ""
    spec = load_spec("model", name, files)
    return spec.base if isinstance(spec, CompressedSpec) else ""


@cache
def model_code(name: str) -> str:
    """Return the digest of the code that builds a model; empty for one that is not known.

    Of a compressed model, its base's code is a part. The harness itself does not count.
    """
    files = model_files()
    code = [files[each] for each in (name, base_name(name)) if each in files]
    return code_digest(code, ROOT, apart="harness") if code else ""


def load_dataset(name: str) -> DatasetSpec:
    """Import a data set's file and return its SPEC.

    Raises:
        RequestError: No such data set, or its file cannot be imported or has no SPEC.
    """
    spec = load_spec("data set", name, dataset_files())
    if not isinstance(spec, DatasetSpec):
        raise RequestError(f"data set '{name}': SPEC in datasets/{name}.py is not a DatasetSpec")
    return spec


def find_dataset(name: str) -> DatasetSpec | None:
    """Return the SPEC of a data set as `load_dataset` does; None for one that is the user's own."""
    return load_dataset(name) if name in dataset_files() else None


def expand_names(kind: str, asked: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return names as `split_names` does, where `all` stands for all that are known.

    Raises:
        RequestError: A name that is not known, or an option that names nothing.
    """
    all_names = list(known)
    names: list[str] = []
    for name in split_names(kind, asked):
        if name != "all" and name not in all_names:
            raise unknown_name(kind, name, all_names, "--list shows all")
        names += all_names if name == "all" else [name]
    return list(dict.fromkeys(names))


def split_names(kind: str, asked: Iterable[str]) -> list[str]:
    """Turn repeated options and comma lists into names, each once, in the order asked.

    `["resnet,vgg", "vit"]` is resnet, vgg and vit; `kind` says what they are in the message.

    Raises:
        RequestError: An option names nothing.
    """
    names: list[str] = []
    for text in asked:
        found = [part.strip() for part in text.split(",") if part.strip()]
        if not found:
            raise RequestError(f"'{text}' names no {kind}: name one or more, as in a,b,c")
        names += found
    return list(dict.fromkeys(names))


def load_spec(kind: str, name: str, files: dict[str, Path]) -> object:
    """Import one of the files by name and return its SPEC; `kind` is for the message.

    Raises:
        RequestError: No such name, or its file cannot be imported or has no SPEC.
    """
    if name not in files:
        raise unknown_name(kind, name, files, "--list shows all")
    path = files[name]
    where = path.relative_to(ROOT)
    try:
        module = _import_file(".".join(where.with_suffix("").parts), path)
    except RequestError:
        raise
    except Exception as error:
        raise RequestError(
            f"{kind} '{name}': {where} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if not hasattr(module, "SPEC"):
        raise RequestError(f"{kind} '{name}': {where} defines no SPEC")
    return module.SPEC


def _import_file(module_name: str, path: Path) -> ModuleType:
    """Import by path, so that an installed package called `datasets` cannot get in between."""
    loaded = sys.modules.get(module_name)
    if loaded is not None and loaded.__file__ == str(path):
        return loaded
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    return module
