"""Turning names and patterns on the command line into models of four sources."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Literal, get_args

from harness.errors import RequestError
from harness.registry import model_files

Source = Literal["ours", "torchvision", "timm", "hf"]
SOURCES: tuple[Source, ...] = get_args(Source)
_WILDCARDS = "*?["
_NEAR = 4


@dataclass(frozen=True, kw_only=True)
class ModelName:
    """A model of one source, by its name there."""

    source: Source
    name: str

    def __str__(self) -> str:
        """Return the name as the command line takes it; torchvision's names need no prefix."""
        return self.name if self.source == "torchvision" else f"{self.source}:{self.name}"


@cache
def known_names(source: Source) -> tuple[str, ...]:
    """Return the models of a source; importing timm or transformers takes seconds at first."""
    if source == "ours":
        return tuple(model_files())
    if source == "torchvision":
        import torchvision

        return tuple(torchvision.models.list_models(torchvision.models))
    if source == "timm":
        import timm

        return tuple(timm.list_models())
    return tuple(hf_classes())


@cache
def hf_classes() -> Mapping[str, str]:
    """Return the class of each of transformers' image classifiers, by the model type."""
    from transformers.models.auto import modeling_auto

    names = modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
    return {key: each if isinstance(each, str) else each[0] for key, each in names.items()}


def resolve_names(asked: Iterable[str]) -> list[ModelName]:
    """Return the models that names and patterns mean, each once, in the order asked.

    A name without a prefix is looked up in our folders, then in torchvision, then in timm. A
    pattern without one means torchvision's models, or timm's if no model of torchvision fits.

    Args:
        asked: Names, patterns ("resnet*", "timm:vit_*_patch16_224", "hf:*") or comma lists.

    Raises:
        RequestError: There are no names, or nothing fits one of them.
    """
    names: list[ModelName] = []
    for text in (part.strip() for each in asked for part in each.split(",")):
        if text:
            names += _resolve(text)
    if not names:
        raise RequestError("name one or more models, e.g. resnet18 mobilenet_v2 (--list shows all)")
    return list(dict.fromkeys(names))


def matching_names(pattern: str = "*") -> list[ModelName]:
    """Return the models of every source, or of the one before the colon, that fit a pattern.

    Raises:
        RequestError: No model does.
    """
    sources, wanted = _split(pattern)
    if not any(sign in wanted for sign in _WILDCARDS):
        wanted = f"*{wanted}*"
    found = [name for source in sources for name in _matches(source, wanted)]
    if not found:
        raise _unknown(pattern, sources)
    return found


def _resolve(text: str) -> list[ModelName]:
    sources, name = _split(text)
    if any(sign in name for sign in _WILDCARDS):
        # Our models are torchvision's and timm's again, under names that few patterns mean.
        usual: tuple[Source, ...] = ("torchvision", "timm")
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


def _split(text: str) -> tuple[tuple[Source, ...], str]:
    """Return the sources that a name can be of, and the name without its prefix."""
    prefix, colon, rest = text.partition(":")
    if not colon:
        return SOURCES, text
    found = tuple(source for source in SOURCES if source == prefix)
    if not found:
        raise RequestError(f"unknown source '{prefix}' of '{text}': {', '.join(SOURCES)}")
    return found, rest


def _matches(source: Source, pattern: str) -> list[ModelName]:
    names = (name for name in known_names(source) if fnmatchcase(name, pattern))
    return [ModelName(source=source, name=name) for name in names]


def _unknown(text: str, sources: Iterable[Source]) -> RequestError:
    known = {str(name): name.name for source in sources for name in _matches(source, "*")}
    asked = text.rpartition(":")[2]
    near = difflib.get_close_matches(asked, set(known.values()), n=_NEAR, cutoff=0.6)
    full = [label for name in near for label, each in known.items() if each == name]
    help_text = f"did you mean {' or '.join(full[:_NEAR])}?" if full else "nothing is near it"
    return RequestError(
        f"unknown model '{text}': {help_text} (--list shows all, --list PATTERN some)"
    )
