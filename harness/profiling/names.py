"""Names on the command line turned into models: four sources, prefixes, wildcards, near matches."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
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
        """Return the name as the command line takes it; torchvision's need no prefix."""
        return self.name if self.source == "torchvision" else f"{self.source}:{self.name}"


@cache
def known_names(source: Source) -> tuple[str, ...]:
    """Return every model of a source; asking timm or transformers takes seconds the first time."""
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
    """Return transformers' image classifiers: the class by the model type."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as NAMES,
    )

    return {
        model_type: found if isinstance(found, str) else found[0]
        for model_type, found in NAMES.items()
    }


def resolve_names(asked: Iterable[str]) -> list[ModelName]:
    """Return the models that names and patterns mean, each once, in the order asked.

    A name without a prefix is looked up in our folders, then in torchvision, then in timm. A
    pattern without one means torchvision's models, or timm's where none of torchvision's fits.

    Args:
        asked: Names, patterns ("resnet*", "timm:vit_*_patch16_224", "hf:*") or comma lists.

    Raises:
        RequestError: None at all, or one that nothing fits.
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
        RequestError: None does.
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
        # Ours are torchvision's and timm's again, under names that few patterns mean.
        usual: tuple[Source, ...] = ("torchvision", "timm")
        for source in sources if len(sources) == 1 else usual:
            if found := list(_matches(source, name)):
                return found
    for source in sources:
        # The transformers' names are too short to be meant without saying so.
        if _is_known(source, name) and not (source == "hf" and len(sources) > 1):
            return [ModelName(source=source, name=name)]
    raise _unknown(text, sources)


def _is_known(source: Source, name: str) -> bool:
    # timm's names may say after a dot which weights; their image size goes with them.
    plain = name.partition(".")[0] if source == "timm" else name
    return plain in known_names(source)


def _split(text: str) -> tuple[tuple[Source, ...], str]:
    """Return the sources that a name can be of, and the name without its prefix."""
    prefix, colon, rest = text.partition(":")
    if not colon:
        return SOURCES, text
    for source in SOURCES:
        if source == prefix:
            return (source,), rest
    raise RequestError(f"unknown source '{prefix}' of '{text}': {', '.join(SOURCES)}")


def _matches(source: Source, pattern: str) -> Iterator[ModelName]:
    for name in known_names(source):
        if fnmatchcase(name, pattern):
            yield ModelName(source=source, name=name)


def _unknown(text: str, sources: Iterable[Source]) -> RequestError:
    known = {str(name): name.name for source in sources for name in _matches(source, "*")}
    asked = text.rpartition(":")[2]
    near = difflib.get_close_matches(asked, set(known.values()), n=_NEAR, cutoff=0.6)
    full = [label for name in near for label, each in known.items() if each == name]
    help_text = f"did you mean {' or '.join(full[:_NEAR])}?" if full else "nothing is near it"
    return RequestError(
        f"unknown model '{text}': {help_text} (--list shows all, --list PATTERN some)"
    )
