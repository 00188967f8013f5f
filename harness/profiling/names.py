"""Turning names and patterns on the command line into models of four sources."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Literal, get_args

from harness.errors import RequestError
from harness.profiling.catalogue import catalogue
from harness.profiling.user_models import UserSource, find_user_model
from harness.registry import model_files

Library = Literal["ours", "torchvision", "timm", "hf"]
Source = Library | UserSource
SOURCES: tuple[Library, ...] = get_args(Library)
LIBRARIES: dict[Library, str] = {"torchvision": "torchvision", "timm": "timm", "hf": "transformers"}
_WILDCARDS = "*?["
_NEAR = 4


@dataclass(frozen=True, kw_only=True)
class ModelName:
    """A model by its name in a source; `form` is one of a re-parameterised network, or empty."""

    source: Source
    name: str
    form: str = ""

    def __str__(self) -> str:
        """Return the name as the command line takes it; torchvision's names need no prefix."""
        prefixed = self.source in ("ours", "timm", "hf")
        name = f"{self.source}:{self.name}" if prefixed else self.name
        return f"{name} ({self.form})" if self.form else name


@cache
def known_names(source: Library) -> tuple[str, ...]:
    """Return the models of a source."""
    return tuple(model_files() if source == "ours" else catalogue(LIBRARIES[source]).names)


def resolve_names(asked: Iterable[str]) -> list[ModelName]:
    """Return the models that names and patterns mean, each once, in the order asked.

    A name without a prefix is looked up in our folders, then in torchvision, then in timm. A
    pattern ("resnet*", "timm:vit_*") without one means torchvision's models, or timm's if no model
    of torchvision fits. RequestError: there are no names, or nothing fits one of them.
    """
    names: list[ModelName] = []
    for text in (part.strip() for each in asked for part in each.split(",")):
        if text:
            names += _resolve(text)
    if not names:
        raise RequestError("name one or more models, e.g. resnet18 mobilenet_v2 (--list shows all)")
    return list(dict.fromkeys(names))


def matching_names(pattern: str = "*") -> list[ModelName]:
    """Return the models, of every source or of the one before the colon, that fit a pattern."""
    sources, wanted = _split(pattern)
    if not any(sign in wanted for sign in _WILDCARDS):
        wanted = f"*{wanted}*"
    found = [name for source in sources for name in _matches(source, wanted)]
    if not found:
        raise _unknown(pattern, sources)
    return found


def _resolve(text: str) -> list[ModelName]:
    if kind := find_user_model(text, SOURCES):
        return [ModelName(source=kind, name=text)]
    sources, name = _split(text)
    if any(sign in name for sign in _WILDCARDS):
        # Our models are torchvision's and timm's again, under names that few patterns mean.
        usual: tuple[Library, ...] = ("torchvision", "timm")
        for source in sources if len(sources) == 1 else usual:
            if found := _matches(source, name):
                return found
    for source in sources:
        # A tag after a dot in timm's names says which weights, which decide the image size.
        known = (name.partition(".")[0] if source == "timm" else name) in known_names(source)
        # The names of transformers are too short to be meant without their prefix.
        if known and not (source == "hf" and len(sources) > 1):
            return [ModelName(source=source, name=name)]
    raise _unknown(text, sources)


def _split(text: str) -> tuple[tuple[Library, ...], str]:
    """Return the sources that a name can be of, and the name without its prefix."""
    prefix, colon, rest = text.partition(":")
    if not colon:
        return SOURCES, text
    if prefix not in SOURCES:
        raise RequestError(
            f"unknown source '{prefix}' of '{text}': {', '.join(SOURCES)}, a file.py or a module"
        )
    return (prefix,), rest


def _matches(source: Library, pattern: str) -> list[ModelName]:
    known: Iterable[str] = known_names(source)
    if source == "timm" and "." in pattern:
        known = (f"{name}.{tag}" for name, tags in catalogue("timm").tags.items() for tag in tags)
    names = (name for name in known if fnmatchcase(name, pattern))
    return [ModelName(source=source, name=name) for name in names]


def _unknown(text: str, sources: Iterable[Library]) -> RequestError:
    asked = text.rpartition(":")[2]
    for library in (LIBRARIES[source] for source in sources if source in LIBRARIES):
        for name, kind in catalogue(library).others.items():
            if fnmatchcase(name, asked):
                message = f"'{text}': {name} is {kind} of {library}: image classifiers only"
                return RequestError(message)
    known = {str(name): name.name for source in sources for name in _matches(source, "*")}
    near = difflib.get_close_matches(asked, set(known.values()), n=_NEAR, cutoff=0.6)
    full = [label for name in near for label, each in known.items() if each == name]
    help_text = f"did you mean {' or '.join(full[:_NEAR])}?" if full else "nothing is near it"
    return RequestError(
        f"unknown model '{text}': {help_text} (--list shows all, --list PATTERN some)"
    )
