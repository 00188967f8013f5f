"""The record of a search for a model's recipe: every trial, the budget, and the winner."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len

from harness.errors import RequestError
from harness.jobs import Cell
from harness.records.parts import Amount, Count, Percent, Positive, Provenance
from harness.records.store import STRICT, Store
from harness.settings_spec import TuningSettings

_ONE_SIDED_95 = 1.645


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """One trial.

    Attributes:
        number: Its place in the order of trials, from 0.
        state: complete, pruned (worse after an epoch than half of the trials before it), or
            failed (its training broke).
        values: The settings that were drawn, by dotted key.
        accuracy: Top-1 accuracy on the held-out training images, percent; of a pruned trial, at
            its last epoch.
        epochs: Epochs that it was trained for.
        seconds: Duration of its training.
        beside: Number of other trials that ran when it began, by other workers.
        reason: Why it failed.
    """

    number: Count
    state: Literal["complete", "pruned", "failed"]
    values: dict[str, Any]
    accuracy: Annotated[float, Ge(0), Le(100)] | None
    epochs: Count
    seconds: Amount
    beside: Count = 0
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class TuningRecord:
    """A search for the recipe of a model on a data set.

    Attributes:
        schema: Version of this layout.
        cell: Data set, model and device.
        label: The name of the model in tables.
        budget: What comparisons are made by: trials, images, epochs, search space.
        because: Why the model has a space of its own, if it has.
        space: The search space: `fixed` and `search`, as in `configs/tuning/default.yaml`.
        held_out: Number of training images that trials are judged by.
        seed: The seed of the images, of the weights and of the search.
        trials: All trials.
        workers: The largest number of trials that ran side by side; where it is more than 1, what
            trials drew depends on which had ended by then.
        best: Number of the winner.
        recipe: Settings of the winner and fixed ones, by dotted key.
        gmacs: Multiply-accumulates of one image's forward pass, 10^9; training takes three times
            as many.
        chance: Accuracy on the held-out images of naming their most frequent class, percent.
        data_name: The images.
        data_sha256: Their digest.
        settings_hash: Of the settings that the trials start from.
        provenance: Code, time, command and environment.
    """

    __pydantic_config__ = STRICT

    schema: Literal[1] = 1
    cell: Cell
    label: str
    budget: TuningSettings
    because: str = ""
    space: dict[str, Any]
    held_out: Positive
    seed: Count
    trials: Annotated[tuple[TrialResult, ...], Len(1)]
    workers: Positive = 1
    best: Count
    recipe: dict[str, Any]
    gmacs: Amount | None = None
    chance: Percent | None = None
    data_name: str
    data_sha256: str
    settings_hash: str
    provenance: Provenance

    @property
    def images_seen(self) -> int:
        """Training images that all trials saw."""
        return self.budget.images * sum(trial.epochs for trial in self.trials)

    @property
    def winner(self) -> TrialResult:
        """The best trial."""
        return self.trials[self.best]

    @property
    def is_chance(self) -> bool:
        """Whether the best accuracy is within the 95% that chance would reach, one-sided."""
        if self.chance is None:
            return False
        share = self.chance / 100
        luck = _ONE_SIDED_95 * math.sqrt(share * (1 - share) / self.held_out)
        return (self.winner.accuracy or 0) <= 100 * (share + luck)


def _contradictions(record: TuningRecord) -> Iterator[str]:
    if [trial.number for trial in record.trials] != list(range(len(record.trials))):
        yield "trials: numbers from 0 on wanted"
    elif record.best >= len(record.trials) or record.winner.state != "complete":
        yield f"best: trial {record.best} is not complete"
    elif any(
        (trial.accuracy or 0) > (record.winner.accuracy or 0)
        for trial in record.trials
        if trial.state == "complete"
    ):
        yield f"best: trial {record.best} is not the best"


def _place(record: TuningRecord) -> Path:
    return tuning_place(record.cell)


def tuning_place(cell: Cell) -> Path:
    """Return where the record of a cell's tuning lies below a results folder."""
    return Path("tuning") / cell.dataset / f"{cell.model}-{cell.device}.json"


TUNINGS = Store(
    kind="record of tuning",
    cls=TuningRecord,
    schema=1,
    pattern="tuning/*/*.json",
    place=_place,
    contradictions=_contradictions,
)
"""The searches of a results folder."""


def find_tuned(folders: tuple[Path, ...], cell: Cell) -> TuningRecord:
    """Return the search whose winner is a cell's tuned recipe; the first folder that has one.

    Raises:
        RequestError: There is none, or it is broken.
    """
    for folder in folders:
        record = TUNINGS.find(folder, tuning_place(cell))
        if record is not None:
            return record
    raise RequestError(
        f"--recipe tuned: {cell} has not been tuned: run the same command with --tune 8 in its "
        "place first"
    )
