"""Turn YAML files and the command line into validated settings, and settings into hashes."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, is_dataclass, replace
from functools import cache, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from harness.errors import RequestError, unknown_name
from harness.registry import ROOT, base_name, dataset_files
from harness.settings_spec import (
    PruningSettings,
    QuantizationSettings,
    Settings,
    TrainingSettings,
)
from harness.util.files import regular_file
from harness.util.hashing import hash_json
from harness.util.yaml_text import parse_yaml

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

CONFIG_DIR = ROOT / "configs"
# How weights are evaluated, measured or asked for does not change them.
_NOT_IN_WEIGHTS = {
    "threads",
    "weights",
    "memory_limit_gb",
    "tuning",
    "checkpoint_minutes",
    "evaluation",
    "measurement",
}
# Sections that only some models have: what is said of a model that lacks them, and what is made
# where the files do not mention them.
SECTIONS: dict[str, tuple[str, Callable[[], object]]] = {
    "tree": ("no tree of networks", lambda: None),
    "quantization": ("not quantised", QuantizationSettings),
    "pruning": ("not pruned", PruningSettings),
}
Tree = dict[str, Any]


def load_settings(
    dataset: str,
    model: str,
    overrides: Mapping[str, Any] | None = None,
    folder: Path = CONFIG_DIR,
    recipe: str = "",
) -> Settings:
    """Return the settings of one data set and model.

    Later wins: `default.yaml` for all data sets, `default.yaml` for this one, `<model>.yaml` for
    all, `<model>.yaml` for this one, `overrides`. A compressed model's file comes after its base's.

    Args:
        dataset: The section of the files to read besides `all`.
        model: Its name; it may have no file.
        overrides: Dotted keys and values, as `{"training.epochs": 3}`.
        folder: The folder of the YAML files.
        recipe: Reads `<model>.<recipe>.yaml` for `<model>.yaml`, of a model, its base, or both.

    Raises:
        RequestError: A broken file, an unknown recipe or key, or a value that does not fit.
    """
    merged: Tree = {}
    where: dict[str, str] = {}
    for path in _files(folder, model, recipe):
        sections = read_sections(path, {"all", *dataset_files()}) if path.exists() else {}
        for section in ("all", dataset):
            _merge(merged, sections.get(section) or {}, f"{path.name}, {section}", where)
    _merge_dotted(merged, overrides or {}, "command line", where)
    if "tuning" in merged:
        raise RequestError("setting tuning: only --recipe tuned sets it; leave it out")
    return _validate(merged, where)


def with_values(settings: Settings, values: Mapping[str, Any], source: str) -> Settings:
    """Return settings with other values, by dotted key; a RequestError names one that is wrong."""
    tree, where = asdict(settings), dict[str, str]()
    _merge_dotted(tree, values, source, where)
    return _validate(tree, where)


def recipes(settings: Settings) -> dict[str, TrainingSettings]:
    """Return every recipe in the settings by its dotted name."""
    values: dict[str, object] = {"training": settings.training}
    for section in SECTIONS:
        if part := getattr(settings, section):
            values |= {f"{section}.{name}": value for name, value in vars(part).items()}
    return {name: value for name, value in values.items() if isinstance(value, TrainingSettings)}


def parse_assignment(text: str) -> tuple[str, Any]:
    """Split `key=value` as given to `--set`; the value is read as YAML.

    Raises:
        RequestError: No `=`, no key, or a value that is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise RequestError(f"--set '{text}': write key=value, e.g. training.epochs=3")
    return key.strip(), parse_yaml(value, f"--set '{text[:80]}'")


def settings_hash(settings: Settings) -> str:
    """Return 16 hexadecimal digits that change when any setting does that a cell depends on."""
    return stored_settings_hash(asdict(settings))


def stored_settings_hash(stored: Mapping[str, Any]) -> str:
    """Return the `settings_hash` of settings as a record holds them."""
    # A cell is measured in one process, whatever this setting says.
    measurement = {k: v for k, v in stored["measurement"].items() if k != "latency_processes"}
    training = _without_idle_processes(stored["training"])
    return hash_json({**stored, "measurement": measurement, "training": training})


def settings_with_start(settings: Settings, start: str) -> Settings:
    """Return settings whose training starts from these weights: auto, imagenet or random."""
    training = replace(settings.training, start=start)  # type: ignore[arg-type]
    return replace(settings, training=training)


def recipe_hash(settings: Settings) -> str:
    """Return the hash of the settings that trained weights depend on."""
    tree = {k: v for k, v in asdict(settings).items() if k not in _NOT_IN_WEIGHTS}
    return hash_json({**tree, "training": _without_idle_processes(tree["training"])})


def _without_idle_processes(recipe: Mapping[str, Any]) -> Tree:
    """Return a recipe without the number of processes where it changes the rounding alone.

    So a training continues with another number of processes, and its weights serve any number.
    """
    kept = dict(recipe)
    if kept.get("norm_statistics", "sync") == "sync":
        kept.pop("processes", None)
    elif kept.get("processes", 1) == 1:
        del kept["norm_statistics"]
    return kept


def setting_names(cls: type = Settings, prefix: str = "") -> list[str]:
    """Return every dotted key that `--set` takes."""
    names: list[str] = []
    for name, kind in get_type_hints(cls).items():
        section = next((part for part in (kind, *get_args(kind)) if is_dataclass(part)), None)
        inner = isinstance(section, type) and setting_names(section, f"{prefix}{name}.")
        names += inner or [prefix + name]
    return names


def _files(folder: Path, model: str, recipe: str) -> list[Path]:
    """Return the files that a model's settings are in, those that win last; some may be missing."""
    files, base = [folder / "default.yaml"], base_name(model)
    own = folder / (f"{model}.{recipe}.yaml" if recipe else f"{model}.yaml")
    of_base = folder / f"{base}.{recipe}.yaml"
    if recipe and not own.exists():
        if not (base and of_base.exists()):
            found = [f for name in (model, base) if name for f in folder.glob(f"{name}.*.yaml")]
            there = sorted({file.name.split(".")[1] for file in found})
            raise unknown_name(f"recipe of {model}", recipe, there)
        own = folder / f"{model}.yaml"
    if base:
        files.append(of_base if recipe and of_base.exists() else folder / f"{base}.yaml")
    return [*files, own]


def read_sections(path: Path, known: Collection[str]) -> Tree:
    """Return the sections of a YAML file, or raise a RequestError that says what is wrong."""
    try:
        text = regular_file(path).read_text(encoding="utf-8")
    except OSError as error:
        raise RequestError(f"{path.name}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise RequestError(f"{path.name}: not YAML: {error}") from None
    sections = parse_yaml(text, path.name) or {}
    if not isinstance(sections, dict):
        found = reprlib.repr(sections)
        raise RequestError(f"{path.name}: sections wanted (all:, digits:, ...), found {found}")
    for name, section in sections.items():
        if name not in known:
            raise unknown_name(f"section in {path.name}", str(name), known)
        if section is not None and not isinstance(section, dict):
            found = reprlib.repr(section)
            raise RequestError(f"{path.name}: section {name}: keys wanted, found {found}")
    return sections


def _validate(tree: Tree, where: Mapping[str, str]) -> Settings:
    from pydantic import ValidationError

    try:
        return settings_adapter().validate_python(tree)
    except ValidationError as error:
        raise _explain(error.errors()[0], where) from None


def _merge_dotted(
    into: Tree, values: Mapping[str, Any], source: str, where: dict[str, str]
) -> None:
    for key, value in values.items():
        nested = reduce(lambda tree, part: {part: tree}, reversed(key.split(".")), value)
        _merge(into, nested, source, where)


def _merge(into: Tree, tree: Tree, source: str, where: dict[str, str], prefix: str = "") -> None:
    """Lay `tree` over `into`, noting in `where` which source each key came from."""
    for key, value in tree.items():
        dotted = f"{prefix}{key}"
        where[dotted] = source
        if isinstance(value, dict) and isinstance(into.get(key, {}), dict):
            _merge(into.setdefault(key, {}), value, source, where, f"{dotted}.")
        else:
            into[key] = value


@cache
def settings_adapter() -> TypeAdapter[Settings]:
    """Return what makes settings of plain mappings; it takes long to make itself."""
    from pydantic import TypeAdapter

    return TypeAdapter(Settings)


def _explain(error: ErrorDetails, where: Mapping[str, str]) -> RequestError:
    parts = [str(part) for part in error["loc"]]
    key, sections = ".".join(parts), [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
    source = next((where[section] for section in sections if section in where), "settings")
    if error["type"] == "unexpected_keyword_argument":
        return unknown_name("setting", key, setting_names(), source)
    return RequestError(
        f"setting {key} ({source}): {error['msg']}, found {reprlib.repr(error['input'])}"
    )
