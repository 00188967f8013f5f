"""Turn YAML files and the command line into validated settings, and settings into hashes."""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import yaml

from harness.errors import RequestError, unknown_name
from harness.jobs import Device
from harness.registry import ROOT, base_name, dataset_files
from harness.settings_spec import (
    PruningSettings,
    QuantizationSettings,
    Settings,
    TrainingSettings,
)
from harness.spec import DatasetSpec, ModelSpec
from harness.util.files import regular_file
from harness.util.hashing import hash_json

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

CONFIG_DIR = ROOT / "configs"
_NOT_IN_WEIGHTS = (
    *("threads", "weights", "memory_limit_gb", "checkpoint_minutes"),
    *("evaluation", "measurement"),
)
# Sections that only some models have, and what is said of a model that lacks them.
_SECTIONS = {
    "tree": "no tree of networks",
    "quantization": "not quantised",
    "pruning": "not pruned",
}
# The limits of what a YAML file or value may hold.
_DEEPEST, _MOST_VALUES = 20, 10_000
_DEFAULTS = {"quantization": QuantizationSettings, "pruning": PruningSettings}
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
    all, `<model>.yaml` for this one, `overrides`. The file of a compressed model comes after that
    of its base.

    Args:
        dataset: A data set's name: the section of the files to read besides `all`.
        model: A model's name; it may have no file.
        overrides: Dotted keys and values, as `{"training.epochs": 3}`.
        folder: The folder of the YAML files.
        recipe: Reads `<model>.<recipe>.yaml` in place of `<model>.yaml`; of a base, where there
            is one.

    Raises:
        RequestError: A broken file, an unknown recipe or key, or a value that does not fit.
    """
    merged: Tree = {}
    where: dict[str, str] = {}
    for path in _files(folder, model, recipe):
        sections = _read_sections(path)
        for section in ("all", dataset):
            _merge(merged, sections.get(section) or {}, f"{path.name}, {section}", where)
    for key, value in (overrides or {}).items():
        _merge(merged, _nest(key, value), "command line", where)
    return _validate(merged, where)


def complete_settings(
    settings: Settings, model: ModelSpec, dataset: DatasetSpec | None
) -> Settings:
    """Fill in what settings leave to the model and to the data set: image size and statistics.

    Raises:
        RequestError: There are settings for models of another kind, as of a tree for one that is
            none, a compressed model cannot be had that way, layers are to be frozen in one that
            trains in its own way, a recipe cannot be followed by several processes,
            or images are to be shifted or cut beyond their borders.
    """
    for name, what in _SECTIONS.items():
        if getattr(settings, name) is not None and model.section != name:
            raise RequestError(f"setting {name}: {model.label} is {what}")
    if model.section in _DEFAULTS and getattr(settings, model.section) is None:
        section: Any = {model.section: _DEFAULTS[model.section]()}
        settings = dataclasses.replace(settings, **section)
    if model.base:
        _check_compressed(settings, model)
    if model.fit is not None:
        _refuse_freezing(settings, model)
    _check_processes(settings, model)
    _check_augmentation(settings, model.input_size(settings))
    mean, std = settings.mean, settings.std
    if dataset is not None and mean is None and std is None:
        mean, std = dataset.mean, dataset.std
    return dataclasses.replace(
        settings,
        image_size=model.input_size(settings),
        mean=mean if settings.normalize else None,
        std=std if settings.normalize else None,
    )


def recipes(settings: Settings) -> dict[str, TrainingSettings]:
    """Return every recipe in the settings by its dotted name."""
    values: dict[str, object] = {"training": settings.training}
    for section in _SECTIONS:
        part = getattr(settings, section)
        if part is not None:
            values |= {f"{section}.{name}": value for name, value in vars(part).items()}
    return {name: value for name, value in values.items() if isinstance(value, TrainingSettings)}


def check_training_device(settings: Settings, device: Device) -> None:
    """Make sure that the recipes can be followed on a device.

    Raises:
        RequestError: A recipe's precision needs a GPU.
    """
    for name, recipe in recipes(settings).items():
        if device == "cpu" and recipe.precision in ("fp16", "tf32"):
            raise RequestError(
                f"setting {name}.precision: {recipe.precision} is for GPUs; use fp32 or bf16 on a "
                "CPU"
            )


def _check_augmentation(settings: Settings, image_size: int) -> None:
    for name, recipe in recipes(settings).items():
        _, side = recipe.cutout or (0, 0)
        for key, pixels, most in (
            ("shift_pixels", recipe.shift_pixels, image_size - 1),
            ("cutout", side, image_size),
        ):
            if pixels > most:
                raise RequestError(
                    f"setting {name}.{key}: {pixels} pixels, images have {image_size}: at most "
                    f"{most} wanted"
                )


def _refuse_freezing(settings: Settings, model: ModelSpec) -> None:
    for name, recipe in recipes(settings).items():
        for key in ("freeze_layers", "freeze_backbone"):
            if getattr(recipe, key):
                raise RequestError(
                    f"setting {name}.{key}: {model.label} trains in stages of its own and "
                    "freezes no layers"
                )


def _check_processes(settings: Settings, model: ModelSpec) -> None:
    """Refuse what several processes cannot do together."""
    for name, recipe in recipes(settings).items():
        where = f"setting {name}.processes: "
        if recipe.processes > 1 and (name != "training" or (model.fit and not model.base)):
            raise RequestError(f"{where}the stages of {model.label} train in 1 process alone")
        for key in ("micro_batch_size", "compile"):
            if recipe.processes > 1 and getattr(recipe, key) is not None:
                raise RequestError(f"{where}{name}.{key} goes with 1 process alone")
        least = recipe.processes * (2 if recipe.norm_statistics == "local" else 1)
        if recipe.batch_size < least and recipe.processes > 1:
            raise RequestError(
                f"{where}{recipe.processes} processes need {name}.batch_size {least} or more, "
                f"found {recipe.batch_size}"
            )


def _check_compressed(settings: Settings, model: ModelSpec) -> None:
    if settings.quantization is not None and settings.evaluation.precision != "fp32":
        own = "fp32" if settings.weights == "published" else "int8"
        raise RequestError(
            f"setting evaluation.precision: {model.title(settings)} runs in {own}, not in "
            f"{settings.evaluation.precision}; leave it at fp32"
        )


def parse_assignment(text: str) -> tuple[str, Any]:
    """Split `key=value` as given to `--set`; the value is read as YAML.

    Raises:
        RequestError: No `=`, no key, or a value that is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise RequestError(f"--set '{text}': write key=value, e.g. training.epochs=3")
    try:
        return key.strip(), _parse(value)
    except (RecursionError, ValueError, yaml.YAMLError) as error:
        raise RequestError(f"--set '{text[:80]}': {_describe_yaml_error(error)}") from None


def settings_hash(settings: Settings) -> str:
    """Return 16 hexadecimal digits that change when any setting does that a cell depends on."""
    return stored_settings_hash(dataclasses.asdict(settings))


def stored_settings_hash(stored: Mapping[str, Any]) -> str:
    """Return the `settings_hash` of settings as a record holds them."""
    # A cell is measured in one process, whatever this setting says.
    measurement = {k: v for k, v in stored["measurement"].items() if k != "latency_processes"}
    training = _without_idle_processes(stored["training"])
    return hash_json({**stored, "measurement": measurement, "training": training})


def settings_with_start(settings: Settings, start: str) -> Settings:
    """Return settings whose training starts from these weights: auto, imagenet or random."""
    training = dataclasses.replace(settings.training, start=start)  # type: ignore[arg-type]
    return dataclasses.replace(settings, training=training)


def recipe_hash(settings: Settings) -> str:
    """Return the hash of the settings that trained weights depend on.

    How weights are evaluated, measured or asked for is left out, so that changing it does not
    train again.
    """
    tree = dataclasses.asdict(settings)
    for key in _NOT_IN_WEIGHTS:
        del tree[key]
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
        if isinstance(section, type):
            names += setting_names(section, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names


def _files(folder: Path, model: str, recipe: str) -> list[Path]:
    """Return the files that a model's settings are in, those that win last; some may be missing."""
    own, base = folder / f"{model}.yaml", base_name(model)
    of_base = folder / f"{base}.yaml"
    if recipe:
        own = folder / f"{model}.{recipe}.yaml"
        if not own.exists():
            there = [file.name.split(".")[1] for file in sorted(folder.glob(f"{model}.*.yaml"))]
            raise unknown_name(f"recipe of {model}", recipe, there)
        if (folder / f"{base}.{recipe}.yaml").exists():
            of_base = folder / f"{base}.{recipe}.yaml"
    return [folder / "default.yaml", *([of_base] if base else []), own]


@cache
def _parse(text: str) -> Any:
    """Return what YAML holds.

    Raises:
        YAMLError: It is no YAML.
        RecursionError: It is nested too deeply.
        ValueError: A value is out of its type's range, or aliases make too much of a short text.
    """
    # All models share default.yaml, and parsing is slow.
    tree = yaml.safe_load(text)
    level, deep, seen = [tree], 0, 0
    while level:
        deep, seen = deep + 1, seen + len(level)
        if deep > _DEEPEST or seen > _MOST_VALUES:
            raise ValueError(
                f"more than {_DEEPEST} levels or {_MOST_VALUES} values: nested too deeply, or by "
                "aliases that recur"
            )
        inner = (
            each.values() if isinstance(each, dict) else each for each in level if _holds(each)
        )
        level = list(chain.from_iterable(inner))
    return tree


def _holds(value: object) -> bool:
    return isinstance(value, (dict, list))


def _describe_yaml_error(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    line = f"line {mark.line + 1}: " if mark else ""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return f"{line}not YAML: {getattr(error, 'problem', None) or error}".splitlines()[0]


def _read_sections(path: Path) -> Tree:
    if not path.exists():
        return {}
    try:
        sections = _parse(regular_file(path).read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise RequestError(f"{path.name}: cannot be read ({error.strerror})") from None
    except (RecursionError, ValueError, yaml.YAMLError) as error:
        raise RequestError(f"{path.name}: {_describe_yaml_error(error)}") from None
    if not isinstance(sections, dict):
        raise RequestError(
            f"{path.name}: sections wanted (all:, digits:, ...), found {reprlib.repr(sections)}"
        )
    known = {"all", *dataset_files()}
    for name, section in sections.items():
        if name not in known:
            raise unknown_name(f"section in {path.name}", str(name), known)
        if section is not None and not isinstance(section, dict):
            raise RequestError(
                f"{path.name}: section {name}: keys wanted, found {reprlib.repr(section)}"
            )
    return sections


def _merge(into: Tree, tree: Tree, source: str, where: dict[str, str], prefix: str = "") -> None:
    """Lay `tree` over `into`, noting in `where` which source each key came from."""
    for key, value in tree.items():
        dotted = f"{prefix}{key}"
        where[dotted] = source
        if isinstance(value, dict) and isinstance(into.get(key, {}), dict):
            _merge(into.setdefault(key, {}), value, source, where, f"{dotted}.")
        else:
            into[key] = value


def _nest(dotted: str, value: Any) -> Tree:
    for key in reversed(dotted.split(".")):
        value = {key: value}
    return dict(value)


def _validate(tree: Tree, where: dict[str, str]) -> Settings:
    from pydantic import ValidationError

    try:
        return settings_adapter().validate_python(tree)
    except ValidationError as error:
        raise _explain(error.errors()[0], where) from None


@cache
def settings_adapter() -> TypeAdapter[Settings]:
    """Return what makes settings of plain mappings; it takes long to make itself."""
    from pydantic import TypeAdapter

    return TypeAdapter(Settings)


def _explain(error: ErrorDetails, where: dict[str, str]) -> RequestError:
    parts = [str(part) for part in error["loc"]]
    key, sections = ".".join(parts), [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
    source = next((where[section] for section in sections if section in where), "settings")
    if error["type"] == "unexpected_keyword_argument":
        return unknown_name("setting", key, setting_names(), source)
    return RequestError(
        f"setting {key} ({source}): {error['msg']}, found {reprlib.repr(error['input'])}"
    )
