"""A digest of the code in files and in what they import, without comments and docstrings."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from harness.util.hashing import hash_json

# These packages contain no networks: another version builds the same ones.
_NO_NETWORKS = {"torch", "numpy", "pydantic", "annotated_types", "typing_extensions"}
_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_digest(files: Sequence[Path], root: Path, apart: str) -> str:
    """Return 16 hexadecimal digits that change with the code in files and in what they import.

    The code is that of the files and, step by step, of the modules below `root` that they import,
    with the contents of files beside them that they name in a text. Of an installed package it is
    the version. Comments, docstrings, the arrangement of the text and the package `apart` below
    `root` do not count.
    """
    found: dict[str, object] = {}
    waiting = [(file, root) for file in files]
    while waiting:
        file, home = waiting.pop()
        name = file.relative_to(home).as_posix()
        if name in found:
            continue
        tree = _parse(file)
        found[name] = _simplify(tree)
        for other in _named_files(tree, file.parent):
            if other.suffix == ".py":
                waiting.append((other, home))
            else:
                found[other.name] = hashlib.sha256(other.read_bytes()).hexdigest()
        for module in _imports(tree, name):
            package = module.split(".")[0]
            if package in (apart, *_NO_NETWORKS, *sys.stdlib_module_names):
                continue
            path = _locate(module, home) or _locate(module, file.parent)
            if path is not None:
                waiting.append((path, home))
            elif not (home / package).exists() and package not in found:
                found[package] = version = _version(package)
                outside = _outside(package) if version is None else None
                if outside is not None and (path := _locate(module, outside)) is not None:
                    waiting.append((path, outside))
    return hash_json(found)


def _parse(file: Path) -> ast.Module:
    source = file.read_bytes()
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError):
        # Broken code is as good as a text.
        return ast.Module(body=[ast.Expr(ast.Constant(repr(source)))] * 2, type_ignores=[])


def _simplify(node: object) -> object:
    """Return a syntax tree as JSON, the same for all versions of Python that can parse it."""
    if isinstance(node, ast.AST):
        fields = dict(ast.iter_fields(node))
        if isinstance(node, _WITH_DOCSTRING) and ast.get_docstring(node, clean=False) is not None:
            fields["body"] = node.body[1:]
        return [type(node).__name__, {name: _simplify(value) for name, value in fields.items()}]
    if isinstance(node, list):
        return [_simplify(each) for each in node]
    return None if node is None else repr(node)


def _imports(tree: ast.Module, name: str) -> Iterator[str]:
    """Yield the dotted names of what a file imports, those of names out of modules as well."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = name.split("/")[: -node.level] if node.level else []
            module = ".".join([*parents, *filter(None, [node.module])])
            yield from (f"{module}.{alias.name}".removeprefix(".") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func
            called = called.id if isinstance(called, ast.Name) else called
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.args[0].value.lstrip(".")


def _named_files(tree: ast.Module, folder: Path) -> Iterator[Path]:
    """Yield the files in a folder whose names are texts in the code of one of them."""
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    for path in sorted(folder.iterdir()):
        if path.name in texts and path.is_file():
            yield path


def _locate(module: str, root: Path) -> Path | None:
    """Return the file of a module below a folder, or of the module that a name is imported from."""
    path = root.joinpath(*module.split("."))
    for place in (path, path.parent):
        if place != root:
            for file in (place.with_name(f"{place.name}.py"), place / "__init__.py"):
                if file.is_file():
                    return file
    return None


def _version(package: str) -> str | None:
    """Return the version of an installed package; None where it has none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        names = metadata.packages_distributions().get(package, ())
        return " ".join(f"{name} {metadata.version(name)}" for name in sorted(set(names))) or None


def _outside(package: str) -> Path | None:
    """Return the folder that an importable package without a version lies in."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    return folder.parent if spec.submodule_search_locations else folder
