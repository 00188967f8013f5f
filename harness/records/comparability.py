"""Fairness of comparisons: in which settings, or tuning budgets, cells of one data set differ.

Some settings belong to a model by its design; they are named, but do not make a comparison unfair:
the image size that a model is built for, the stages of a tree, the compression of a network, a
small stem, which not every network can have.

Models may also be compared by their best settings, if each had the same chances to find them
(AlgoPerf, arXiv:2306.07179; DomainBed, arXiv:2007.01434): as many trials, of as many images, in the
same search space. Settings that were searched may then differ.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from harness.errors import RequestError
from harness.jobs import Job
from harness.records.cell import Record
from harness.registry import base_name, model_files, native_image_size
from harness.settings import load_settings
from harness.settings_spec import Settings, TrainingSettings
from harness.spec import ModelSpec

_DEFAULTS = dataclasses.asdict(TrainingSettings())
# Settings that have an effect only beside certain values of another one.
_ONLY_WITH: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "betas": ("optimizer", ("adam", "adamw")),
    "momentum": ("optimizer", ("sgd",)),
    "warmup_fraction": ("schedule", ("one_cycle",)),
    "cosine_epochs": ("schedule", ("cosine",)),
    "step_epochs": ("schedule", ("step",)),
    "step_factor": ("schedule", ("step",)),
    "processes": ("norm_statistics", ("local",)),
}
FAIR = ("settings", "budget")
"""What `--fair` may ask to be the same."""
# These change rounding alone.
_NO_MATTER = ("channels_last", "compile", "fused_optimizer")


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What an accuracy depends on, by name.

    Attributes:
        values: The conditions.
        own: Names of those that are the model's own, by its design.
        tuning: The `TuningSettings` that the recipe was found with; None: it was not searched.
    """

    values: Mapping[str, Any]
    own: frozenset[str]
    tuning: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Fairness:
    """The values of what should be the same but differs, and of what differs by design."""

    differing: Mapping[str, tuple[str, ...]]
    by_design: Mapping[str, tuple[str, ...]]

    @property
    def fair(self) -> bool:
        """Whether accuracies may be compared."""
        return not self.differing

    def __str__(self) -> str:
        text = "yes" if self.fair else f"no: {_list(self.differing)}"
        return f"{text}; by design of a model: {_list(self.by_design)}" if self.by_design else text


def compare(conditions: Sequence[Conditions]) -> Fairness:
    """Return what differs between the conditions of several models."""
    names = dict.fromkeys(name for each in conditions for name in each.values)
    differing: dict[str, tuple[str, ...]] = {}
    by_design: dict[str, tuple[str, ...]] = {}
    for name in names:
        having = [each for each in conditions if name in each.values]
        found = tuple(_texts(each.values[name] for each in having))
        own = all(name in each.own for each in having)
        if len(found) > 1 or (own and len(having) < len(conditions)):
            (by_design if own else differing)[name] = found
    return Fairness(differing=differing, by_design=by_design)


def compare_budgets(conditions: Sequence[Conditions]) -> Fairness:
    """Return what differs apart from settings that were searched, and between the searches."""
    searches = [each.tuning or {"searched": ()} for each in conditions]
    searched = {name.removeprefix("training.") for each in searches for name in each["searched"]}
    reduced = []
    for each in conditions:
        values = {name: value for name, value in each.values.items() if name not in searched}
        values["tuning"] = "none"
        if each.tuning is not None:
            values["tuning"] = f"{describe_budget(each.tuning)} in {each.tuning['space'][:8]}"
        reduced.append(dataclasses.replace(each, values=values))
    return compare(reduced)


def describe_budget(tuning: Mapping[str, Any]) -> str:
    """Return what a search cost, as it stands in a cell's settings."""
    images = f"{tuning['images']:,} images × {tuning['epochs']} epochs"
    return f"{tuning['trials']} trials of {images}"


def describe_budgets(records: Sequence[Record]) -> str | None:
    """Return whether models had the same budget of tuning; None for fewer than two."""
    compared = [record for record in records if record.accuracy.accuracy_top1 is not None]
    found = [conditions_of_record(record) for record in compared]
    if len(found) < 2:
        return None
    tuned = any(each.tuning is not None for each in found)
    return str(compare_budgets(found)) if tuned else "no: no model was tuned"


def describe_fairness(records: Sequence[Record]) -> str | None:
    """Return whether accuracies on one data set may be compared; None for fewer than two."""
    compared = [record for record in records if record.accuracy.accuracy_top1 is not None]
    return str(compare(list(map(conditions_of_record, compared)))) if len(compared) > 1 else None


def require_fair(jobs: Sequence[tuple[Job, ModelSpec]], by: str = "settings") -> None:
    """Refuse cells of one data set under different conditions, and say what to set.

    They are to be equal in their settings, or, by "budget", in all that was not tuned and in the
    budget of tuning.
    """
    for dataset in dict.fromkeys(job.cell.dataset for job, _ in jobs):
        chosen = [(job, spec) for job, spec in jobs if job.cell.dataset == dataset]
        conditions = [conditions_of_job(job, spec) for job, spec in chosen]
        fairness = compare_budgets(conditions) if by == "budget" else compare(conditions)
        models = ", ".join(job.cell.model for job, _ in chosen)
        if "tuning" in fairness.differing or (by == "budget" and conditions[0].tuning is None):
            raise RequestError(
                f"--fair budget: {dataset}: not all of {models} were tuned alike: tune all with "
                "the same --tune and --tune-budget, then add --recipe tuned"
            )
        if not fairness.fair:
            same = " ".join(_assignments(chosen[0][0].settings, fairness))
            raise RequestError(
                f"--fair {by}: {dataset}: {_list(fairness.differing)} differ between {models}; "
                f"the same for all: {same}"
            )


def conditions_of_record(record: Record) -> Conditions:
    """Return the conditions of a cell that has run."""
    settings = record.settings.settings
    values = {
        "weights": record.weights.weights_origin,
        "data_sha256": record.data.data_sha256[:8],
        "image_size": record.settings.image_size,
        **{name: settings.get(name) for name in ("mean", "std")},
        "evaluation.precision": record.accuracy.precision,
    }
    own = {"tree", "compression", "stem"}
    if settings.get("stem"):
        values["stem"] = settings["stem"]
    if record.settings.image_size in _own_sizes(record.cell.dataset, record.cell.model):
        own.add("image_size")
    if record.weights.weights_origin == "trained":
        # What is in `training` of a compressed model was its base's.
        compressed = record.compression
        start = compressed.base_start if compressed else record.weights.start
        values |= _training(settings) | {"start": start}
        if settings.get("tree"):
            values["tree"] = record.title
    if record.compression:
        values["compression"] = record.title
        if record.accuracy.precision == "int8":
            del values["evaluation.precision"]
    return Conditions(values=values, own=frozenset(own), tuning=settings.get("tuning"))


def conditions_of_job(job: Job, spec: ModelSpec) -> Conditions:
    """Return the conditions that a cell is to be run under, as far as they are known yet."""
    settings = dataclasses.asdict(job.settings)
    trained = job.settings.weights in ("auto", "train")
    values = {
        "weights": "trained" if trained else job.settings.weights,
        **{name: settings[name] for name in ("image_size", "mean", "std")},
        "evaluation.precision": job.settings.evaluation.precision,
    }
    if trained:
        values |= _training(settings)
        if not spec.pretrained or (spec.fit is not None and not spec.base):
            values["start"] = "random"
        if job.settings.tree is not None:
            values["tree"] = spec.label
    if job.settings.stem:
        values["stem"] = job.settings.stem
    if spec.base:
        values["compression"] = spec.label
        if spec.section == "quantization":
            del values["evaluation.precision"]
    # A request sets one size for all; where they differ, it is the models that do.
    own = frozenset({"image_size", "tree", "compression", "stem"})
    return Conditions(values=values, own=own, tuning=settings["tuning"])


def _training(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the seed and the recipe, without settings that have no effect in it."""
    # A setting that is younger than the record was at its default.
    recipe = _DEFAULTS | dict(settings.get("training", {}))
    active = {name: value for name, value in recipe.items() if _is_active(name, recipe)}
    return {"seed": settings.get("seed")} | active


def _is_active(name: str, recipe: Mapping[str, Any]) -> bool:
    owner, choices = _ONLY_WITH.get(name, ("", ()))
    return name not in _NO_MATTER and (not owner or recipe[owner] in choices)


@cache
def _own_sizes(dataset: str, model: str) -> frozenset[int | None]:
    """Return the known image sizes that a model is built or configured for."""
    # A compressed model is built as its base.
    path = model_files().get(base_name(model) or model)
    if path is None:
        return frozenset()
    try:
        configured = load_settings(dataset, model).image_size
    except RequestError:
        configured = None
    return frozenset({configured, native_image_size(path)}) - {None}


def _assignments(present: Settings, fairness: Fairness) -> list[str]:
    """Return the options that give all models what one of them has."""
    settings = dataclasses.asdict(present)
    recipe = settings["training"]
    differing = fairness.differing
    depending = (name for name, (owner, _) in _ONLY_WITH.items() if owner in differing)
    active = (name for name in depending if _is_active(name, recipe))
    options = []
    for name in dict.fromkeys([*differing, *active]):
        key, (section, _, own) = name, name.rpartition(".")
        if name == "weights":
            options.append("--weights train")
            continue
        if name == "start":
            # Not every model has other weights to start from.
            key, value = "training.start", "random"
        elif name in recipe:
            key, value = f"training.{name}", recipe[name]
        else:
            value = (settings[section] if section else settings)[own]
        options.append(f"--set {shlex.quote(f'{key}={_text(value)}')}")
    return options


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _list(found: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{name} ({', '.join(values)})" for name, values in found.items())


def _texts(values: Iterable[Any]) -> list[str]:
    """Return each value once as a text, numbers first and in order."""
    numbers, words = set(), set()
    for value in values:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            numbers.add(value)
        else:
            words.add("none" if value is None else _text(value))
    return [*dict.fromkeys(f"{number:g}" for number in sorted(numbers)), *sorted(words)]
