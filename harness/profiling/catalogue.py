"""What torchvision, timm and transformers call their models, without importing them."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

from harness.errors import CellError
from harness.registry import REFERENCE_RESULTS
from harness.util.files import write_text

NAMES_FOLDER = REFERENCE_RESULTS / "zoo" / "names"


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """What one version of a library calls its models.

    Attributes:
        names: Its image classifiers.
        tags: The weights of each, by the name; timm's alone.
        classes: The class of each; transformers' alone.
        others: Models that are no image classifiers, with what they are.
    """

    version: str
    names: tuple[str, ...]
    tags: dict[str, tuple[str, ...]] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)


@cache
def catalogue(library: str) -> Catalogue:
    """Return what the installed version of a library calls its models.

    Importing the libraries takes seconds, so the names of the versions that the table of the zoo
    was made with come with it, and those of another version are kept in the user's cache.
    """
    version = importlib.metadata.version(library)
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cached = caches / "modelcomparisons" / f"{library}-{version}.json"
    for path in (NAMES_FOLDER / f"{library}.json", cached):
        try:
            known = Catalogue(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            continue
        if known.version == version:
            return known
    found = look_up(library)
    with contextlib.suppress(CellError):
        write_catalogue(cached, found)
    return found


def write_catalogue(path: Path, found: Catalogue) -> None:
    """Write the names of a library's models to a file."""
    write_text(path, json.dumps(asdict(found), indent=0) + "\n")


def look_up(library: str) -> Catalogue:
    """Import a library and return what it calls its models."""
    version = importlib.metadata.version(library)
    if library == "torchvision":
        from torchvision import models

        kinds = {
            "a detector": models.detection,
            "a segmentation model": models.segmentation,
            "a video model": models.video,
            "an optical-flow model": models.optical_flow,
        }
        others = {name: kind for kind in kinds for name in models.list_models(kinds[kind])}
        names = models.list_models(models) + models.list_models(models.quantization)
        return Catalogue(version=version, names=tuple(names), others=others)
    if library == "timm":
        import timm

        tags: dict[str, tuple[str, ...]] = {}
        for name, _, tag in (each.partition(".") for each in timm.list_models(pretrained=True)):
            tags[name] = (*tags.get(name, ()), *([tag] if tag else []))
        return Catalogue(version=version, names=tuple(timm.list_models()), tags=tags)
    from transformers.models.auto import configuration_auto, modeling_auto

    mapped = modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
    classes = {key: each if isinstance(each, str) else each[0] for key, each in mapped.items()}
    unfit = sorted({*configuration_auto.CONFIG_MAPPING_NAMES} - {*classes})
    others = dict.fromkeys(unfit, "another model")
    return Catalogue(version=version, names=tuple(classes), classes=classes, others=others)
