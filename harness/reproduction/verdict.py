"""The verdict on one published figure, and the commands that measure what it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from harness.registry import model_files
from harness.reproduction.published import REFERENCE, PublishedCell

Command = Callable[[str, Iterable[str]], str]
"""Takes the name of a data set and the names of models."""
Outcome = Literal["reproduced", "differs", "cannot be judged"]
Figure = Literal["accuracy", "latency", "size", "count"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether one published figure reproduces, and why.

    Attributes:
        label: The published name of the row.
        published: The figure as printed; for a latency the ratio of the printed times.
        measured: Our figure in the same unit; None where nothing comparable was measured.
        reason: Why that is the outcome.
        command: The command that measures the figure, where nothing was measured.
        evidence: The file below `results/` that the verdict rests on; empty: none.
        p_different: p-value of the test for a difference of accuracies; None for other figures, as
            is `p_equivalent`, that of the test for their equivalence.
    """

    dataset: str
    model: str
    label: str
    figure: Figure
    published: str
    measured: str | None = None
    outcome: Outcome = "cannot be judged"
    reason: str = ""
    command: str = ""
    evidence: str = ""
    p_different: float | None = None
    p_equivalent: float | None = None


def blank_verdict(cell: PublishedCell, figure: Figure, published: str) -> Verdict:
    """Return the verdict on a figure before anything is known about it."""
    return Verdict(
        dataset=cell.dataset, model=cell.model, label=cell.label, figure=figure, published=published
    )


def nothing_measured(verdict: Verdict, why: str, command: Command) -> Verdict:
    """Return a verdict with the command that measures the figure, if the model exists."""
    if verdict.model not in model_files():
        return replace(verdict, reason="this version has no such model")
    return replace(verdict, reason=why, command=command(verdict.dataset, [verdict.model]))


def run_command(dataset: str, models: Iterable[str]) -> str:
    """Return the command that runs cells."""
    return f"python comparisons.py --dataset {dataset} --model {','.join(models)}"


def cost_command(dataset: str, models: Iterable[str]) -> str:
    """Return the command that counts costs."""
    return f"{run_command(dataset, models)} --measure cost"


def latency_command(dataset: str, models: Iterable[str], where: str = "--threads 1") -> str:
    """Return the command that times models beside the reference, on a CPU by default."""
    names = dict.fromkeys((REFERENCE, *models))
    return f"{run_command(dataset, names)} --measure latency {where}"


gpu_latency_command: Command = partial(latency_command, where="--device cuda")
