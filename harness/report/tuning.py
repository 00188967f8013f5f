"""Table of searches for recipes: what tuning brought, and what it took."""

from __future__ import annotations

import json
from collections.abc import Sequence

from harness.records.tuning import TuningRecord
from harness.report.table import Table
from harness.report.terminal import print_table

_HEADS = ("Model", "Trials", "Images seen", "First %", "Best %", "of", "Best recipe")


def print_tuning(records: Sequence[TuningRecord]) -> None:
    """Print a line for each search; accuracies are on held-out training images."""
    if records:
        print_table(tuning_table(records))


def tuning_table(records: Sequence[TuningRecord]) -> Table:
    """Return a row for each search, with the accuracies of its first and of its best trial."""
    rows = []
    for record in records:
        first, best = record.trials[0].accuracy, record.winner.accuracy
        rows.append(
            (
                f"{record.cell}: {record.label}",
                _describe_trials(record),
                f"{record.images_seen:,}",
                "–" if first is None else f"{first:.2f}",
                f"{best:.2f}",
                f"{record.held_out:,}",
                ", ".join(
                    f"{name.removeprefix('training.')} {_text(value)}"
                    for name, value in record.winner.values.items()
                ),
            )
        )
    return Table.of_texts(_HEADS, rows, align="lrrrrrl")


def _describe_trials(record: TuningRecord) -> str:
    states = [trial.state for trial in record.trials]
    other = [f"{states.count(each)} {each}" for each in ("pruned", "failed") if each in states]
    return f"{len(states)} ({', '.join(other)})" if other else str(len(states))


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else json.dumps(value)
