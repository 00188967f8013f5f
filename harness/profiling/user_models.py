"""Models that come from no list: a callable of a Python file or module, an ONNX file, a repository.

path/to/file.py:build?num_classes=10      any callable that returns an nn.Module
package.module:callable?depth=2
exported.onnx
microsoft/resnet-50                       of the Hugging Face Hub
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Collection
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, Literal
from urllib.parse import parse_qsl

from harness.errors import RequestError, unknown_name
from harness.util.error_text import describe_error

UserSource = Literal["python", "onnx", "hub"]
_CALLABLE = re.compile(r"(?P<module>[^?]+\.py|[\w.]+):(?P<name>\w+)(\?(?P<query>.*))?")
_REPOSITORY = re.compile(r"(hf:)?[\w.-]+/[\w.-]+")


def find_user_model(text: str, prefixes: Collection[str]) -> UserSource | None:
    """Return what kind of such model a text names; None if it names none.

    Args:
        text: As on the command line.
        prefixes: What stands before a colon and is no module.

    Raises:
        RequestError: The file, the module or the callable is not there.
    """
    if text.endswith(".onnx"):
        if not Path(text).is_file():
            raise RequestError(f"{text}: no such file")
        return "onnx"
    if text.endswith(".py"):
        raise RequestError(f"{text}: name the callable that makes the network, {text}:NAME")
    match = _CALLABLE.fullmatch(text)
    if match and match["module"] not in prefixes:
        if not match["module"].endswith(".py") and not _is_module(match["module"]):
            return None
        find_callable(text)
        return "python"
    return "hub" if _REPOSITORY.fullmatch(text) else None


@cache
def find_callable(text: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Import a file or module and return the callable named, and the arguments given for it.

    Raises:
        RequestError: It cannot be imported, has no such callable, or an argument is malformed.
    """
    match = _CALLABLE.fullmatch(text)
    if match is None:
        raise RequestError(f"'{text}': file.py:NAME or module:NAME wanted")
    module, name = _import(match["module"]), match["name"]
    found = getattr(module, name, None)
    if not callable(found):
        known = [key for key, each in vars(module).items() if callable(each) and key[0] != "_"]
        raise unknown_name(f"callable of {match['module']}", name, known)
    return found, _parse_arguments(text, match["query"] or "")


def _parse_arguments(text: str, query: str) -> dict[str, Any]:
    """Return the arguments in "num_classes=10&name=tiny": Python literals, or else texts."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise RequestError(f"'{text}': ?name=value&name=value wanted") from None
    arguments: dict[str, Any] = {}
    for key, value in pairs:
        try:
            arguments[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            arguments[key] = value
    return arguments


def _is_module(name: str) -> bool:
    if "" not in sys.path:
        sys.path.insert(0, "")  # packages of the folder that the command is called in
    try:
        found = importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        found = False
    if not found and "." in name:
        raise RequestError(f"no module named '{name}'")
    return found


def _import(module: str) -> ModuleType:
    is_file = module.endswith(".py")
    if is_file and not Path(module).is_file():
        raise RequestError(f"{module}: no such file")
    try:
        return _import_file(Path(module)) if is_file else importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise RequestError(f"{module} cannot be imported: {describe_error(error)}") from error


def _import_file(path: Path) -> ModuleType:
    loader = SourceFileLoader(path.stem, str(path))
    module = ModuleType(path.stem)
    module.__file__ = str(path)
    # Classes of the file look up their module by its name, but an installed one keeps its name.
    sys.modules.setdefault(path.stem, module)
    loader.exec_module(module)
    return module
