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
from contextlib import suppress
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, Literal
from urllib.parse import parse_qsl

from harness.errors import RequestError, unknown_name
from harness.util.error_text import describe_error

UserSource = Literal["python", "onnx", "hub"]
_CALLABLE = re.compile(r"(?P<module>[^?]+\.py|[\w.]+):\w+(\?.*)?")
_REPOSITORY = re.compile(r"(hf:)?[\w.-]+/[\w.-]+")


def find_user_model(text: str, prefixes: Collection[str]) -> UserSource | None:
    """Return what kind of such model a text names; None if it names none.

    `prefixes` are what stands before a colon and is no module. RequestError: the file, the module
    or the callable is not there.
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

    RequestError: it cannot be imported, has no such callable, or an argument is malformed.
    """
    target, _, query = text.partition("?")
    place, _, name = target.rpartition(":")
    module = _import(place)
    found = getattr(module, name, None)
    if not callable(found):
        known = [key for key, each in vars(module).items() if callable(each) and key[0] != "_"]
        raise unknown_name(f"callable of {place}", name, known)
    return found, _parse_arguments(text, query)


def _parse_arguments(text: str, query: str) -> dict[str, Any]:
    """Return the arguments in "num_classes=10&name=tiny": Python literals, or else texts."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise RequestError(f"'{text}': ?name=value&name=value wanted") from None
    arguments: dict[str, Any] = dict(pairs)
    for key, value in pairs:
        with suppress(ValueError, SyntaxError):
            arguments[key] = ast.literal_eval(value)
    return arguments


def _is_module(name: str) -> bool:
    if "" not in sys.path:
        sys.path.insert(0, "")  # packages of the folder that the command is called in
    found = False
    with suppress(ImportError, ValueError):
        found = importlib.util.find_spec(name) is not None
    if not found and "." in name:
        raise RequestError(f"no module named '{name}'")
    return found


def _import(module: str) -> ModuleType:
    is_file = module.endswith(".py")
    if is_file and not Path(module).is_file():
        raise RequestError(f"{module}: no such file")
    try:
        return _import_file(module) if is_file else importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise RequestError(f"{module} cannot be imported: {describe_error(error)}") from error


def _import_file(path: str) -> ModuleType:
    module = ModuleType(Path(path).stem)
    module.__file__ = path
    # Classes of the file look up their module by its name, but an installed one keeps its name.
    sys.modules.setdefault(module.__name__, module)
    SourceFileLoader(module.__name__, path).exec_module(module)
    return module
