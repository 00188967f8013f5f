"""The settings that tuning searches: read from `configs/tuning/default.yaml`, or a file like it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Gt, Le, Len, Lt

from harness.errors import RequestError, unknown_name
from harness.jobs import Job
from harness.records.store import STRICT, explain_validation
from harness.registry import ROOT, dataset_files, model_files
from harness.settings import read_sections, setting_names
from harness.settings_spec import Settings, TuningSettings
from harness.util.hashing import hash_json

if TYPE_CHECKING:
    from optuna.trial import Trial
    from torch import Tensor

SPACE_FILE = ROOT / "configs" / "tuning" / "default.yaml"


@dataclass(frozen=True, kw_only=True)
class Domain:
    """The values that one setting may take: an interval of numbers, or some choices.

    Attributes:
        low: Smallest number.
        high: Largest number.
        log: Draw evenly over orders of magnitude.
        choices: The values, in place of an interval.
    """

    __pydantic_config__ = STRICT

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: Annotated[tuple[Any, ...], Len(0, 100)] = ()

    def check(self, name: str) -> None:
        """Raise RequestError unless this is one interval, or one list of choices."""
        if self.choices and self.low is self.high is None and not self.log:
            return
        if self.choices or self.low is None or self.high is None or not self.low < self.high:
            raise RequestError(f"{name}: low and high with low < high, or choices, wanted")
        if self.log and self.low <= 0:
            raise RequestError(f"{name}: log wants a low above 0, found {self.low:g}")

    def suggest(self, name: str, trial: Trial) -> Any:
        """Draw the value of a trial; Optuna knows choices by their JSON."""
        if self.low is None or self.high is None:
            return trial.suggest_categorical(name, [json.dumps(each) for each in self.choices])
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def has(self, value: Any) -> bool:
        """Return whether a value is in this domain."""
        if self.low is None or self.high is None:
            return json.dumps(value) in [json.dumps(each) for each in self.choices]
        return isinstance(value, (int, float)) and self.low <= value <= self.high


@dataclass(frozen=True, kw_only=True)
class Space:
    """A search space and the budget of a trial in it.

    Attributes:
        held_out: Share of each class's training images that trials are judged by.
        images: Number of the other training images that a trial trains on.
        epochs: How often it sees them.
        fixed: Settings of every trial, by dotted key.
        search: Settings that are drawn.
        because: Why a model has a space of its own; empty: it is the same for all.
    """

    __pydantic_config__ = STRICT

    held_out: Annotated[float, Gt(0), Lt(1)]
    images: Annotated[int, Ge(1)]
    epochs: Annotated[int, Ge(1), Le(100_000)]
    fixed: dict[str, Any] = field(default_factory=dict)
    search: Annotated[dict[str, Domain], Len(1)]
    because: str = ""

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Draw the settings of a trial, and return them by dotted key."""
        return self.decode({name: each.suggest(name, trial) for name, each in self.search.items()})

    def encode(self, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return settings as Optuna holds those of a trial; None if they are not in this space."""
        if not all(domain.has(settings[name]) for name, domain in self.search.items()):
            return None
        return {
            name: json.dumps(settings[name]) if domain.choices else float(settings[name])
            for name, domain in self.search.items()
        }

    def decode(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings from what Optuna holds."""
        return {
            name: json.loads(value) if self.search[name].choices else value
            for name, value in drawn.items()
        }

    def usual(self, settings: Settings) -> dict[str, Any]:
        """Return what a recipe says of all that this space sets or searches, by dotted key."""
        recipe = asdict(settings.training)
        names = [name.removeprefix("training.") for name in (*self.search, *self.fixed)]
        known = {f"training.{name}": recipe[name] for name in names}
        return known | self.fixed | {"training.epochs": self.epochs}

    @property
    def digest(self) -> str:
        """A hash of where is searched, and by which images a trial is judged."""
        tree = asdict(self)
        return hash_json({name: tree[name] for name in ("held_out", "fixed", "search")})


@dataclass(frozen=True, kw_only=True)
class TuneJob:
    """A search for the recipe of one cell; survives a trip through JSON.

    Attributes:
        job: The cell, with its untuned settings.
        trials: Number of trials.
        space: Where is searched, and the budget of a trial.
        data_sha256: Digest of the images.
        worker: Which of the processes that share the search this is for, from 1.
        workers: The number of these.
    """

    job: Job
    trials: int
    space: Space
    data_sha256: str
    worker: int = 1
    workers: int = 1

    def __str__(self) -> str:
        worker = f", worker {self.worker}" if self.workers > 1 else ""
        return f"{self.job.cell}{worker}"

    @property
    def budget(self) -> TuningSettings:
        """What must be the same for tuned models to be compared."""
        space = self.space
        return TuningSettings(
            trials=self.trials,
            images=space.images,
            epochs=space.epochs,
            searched=tuple(space.search),
            space=space.digest,
        )

    @property
    def summary(self) -> str:
        """The budget in words."""
        space = self.space
        return f"tune: {self.trials} trials of {space.images:,} images × {space.epochs} epochs"


def load_space(dataset: str, model: str, path: Path | None = None, budget: str = "") -> Space:
    """Return the search space of a model on a data set.

    Args:
        dataset: The data set's name.
        model: The model's name.
        path: A file in place of `configs/tuning/default.yaml`.
        budget: Images and epochs of a trial in place of the file's, as 4000x3.

    Raises:
        RequestError: The file is missing or wrong, or the budget is no such text.
    """
    from pydantic import TypeAdapter, ValidationError

    path = path or SPACE_FILE
    sections = read_sections(path, {"all", "models", *dataset_files()})
    own = sections.get("models") or {}
    for name, section in own.items():
        if name not in model_files():
            raise unknown_name(f"model in {path.name}", str(name), model_files())
        if not isinstance(section, dict) or not section.get("because"):
            raise RequestError(f"{path.name}: models.{name}: say why in `because`")
    merged: dict[str, Any] = {"fixed": {}, "search": {}}
    for section in (sections.get("all"), sections.get(dataset), own.get(model)):
        for key, value in (section or {}).items():
            nested = isinstance(value, Mapping) and key in merged
            merged[key] = {**merged[key], **value} if nested else value
    merged |= read_budget(budget)
    try:
        space = TypeAdapter(Space).validate_python(merged)
    except ValidationError as error:
        raise RequestError(f"{path.name}: {explain_validation(error)}") from None
    known = [name for name in setting_names() if name.startswith("training.")]
    for name in (*space.fixed, *space.search):
        if name not in known or name == "training.epochs":
            raise unknown_name("setting to tune", name, known, path.name)
    for name, domain in space.search.items():
        domain.check(f"{path.name}: {name}")
    return space


def held_out_rows(labels: Tensor, share: float, seed: int) -> Tensor:
    """Return which training images trials are judged by, booleans N: a share of each class."""
    import torch

    chosen = torch.zeros(len(labels), dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    for label in labels.bincount().nonzero()[:, 0]:
        members = (labels == label).nonzero()[:, 0]
        order = torch.randperm(len(members), generator=generator)
        chosen[members[order[: min(max(round(share * len(members)), 1), len(members) - 1)]]] = True
    return chosen


def read_budget(text: str) -> dict[str, int]:
    """Return the images and epochs that `--tune-budget` names, if it names any."""
    if not text:
        return {}
    images, _, epochs = text.lower().partition("x")
    if not (images.isascii() and images.isdigit() and epochs.isascii() and epochs.isdigit()):
        raise RequestError(f"--tune-budget {text}: images x epochs of a trial wanted, as 4000x3")
    return {"images": int(images), "epochs": int(epochs)}
