"""Searches for recipes: what tuning brought, what it took, and Optuna's plots of the trials."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from harness.errors import CellError
from harness.records.tuning import TUNINGS, TuningRecord
from harness.report.canvas import INK, PAPER, SERIES
from harness.report.labels import shorten
from harness.report.table import Table
from harness.report.terminal import print_table
from harness.tuning.space import Space
from harness.util.error_text import describe_error

if TYPE_CHECKING:
    import optuna
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEADS = ("Model", "Trials", "Images seen", "First %", "Best %", "of", "Best recipe")


def print_tuning(records: Sequence[TuningRecord]) -> None:
    """Print a line for each search; accuracies are on held-out training images."""
    if records:
        print_table(tuning_table(records))
    for record in records:
        if record.is_chance:
            print(
                f"{record.cell}: no trial is better than chance ({record.chance:.2f}%), so its "
                "recipe means nothing: give trials more images or epochs (--tune-budget)"
            )


def render_tuning(records: Sequence[TuningRecord]) -> str:
    """Return a Markdown section on the searches of one data set; empty without any."""
    return f"\n## Tuning\n\n{tuning_table(records).markdown()}" if records else ""


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
                f"{best:.2f} (chance)" if record.is_chance else f"{best:.2f}",
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


def plot_trials(record: TuningRecord) -> Figure:
    """Plot settings and accuracy of each complete trial, as Optuna's parallel coordinates."""
    from optuna.visualization.matplotlib import plot_parallel_coordinate

    name = "accuracy, %"
    return _plot(record, partial(plot_parallel_coordinate, target_name=name), "trials", 9.5)


def plot_importance(record: TuningRecord) -> Figure:
    """Plot how much each setting matters to the accuracy, as Optuna's importances (PED-ANOVA)."""
    from optuna.visualization.matplotlib import plot_param_importances

    return _plot(record, plot_param_importances, "importance of settings", 7.0)


def has_importance(record: TuningRecord) -> bool:
    """Return whether trials differ, so that settings can be told apart."""
    complete = {trial.accuracy for trial in record.trials if trial.state == "complete"}
    return len(complete) > 1


def _plot(
    record: TuningRecord, draw: Callable[[optuna.Study], Axes], what: str, width: float
) -> Figure:
    import matplotlib as mpl
    import optuna
    from matplotlib import pyplot as plt

    plt.switch_backend("agg")
    with warnings.catch_warnings(), mpl.rc_context({"figure.constrained_layout.use": True}):
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        axes = draw(_study_of(record))
    figure: Any = axes.get_figure(root=True)
    plt.close(figure)
    _restyle(figure)
    figure.set_size_inches(width, 3.8)
    axes.set_title("")
    axes.set_title(f"{record.label}, {shorten(record.cell.dataset)}: {what}", loc="left")
    return cast("Figure", figure)


def _restyle(figure: Figure) -> None:
    """Give a figure of Optuna's the colours and numbers of the other figures."""
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.text import Text
    from matplotlib.ticker import LogLocator, NullFormatter

    for axes in figure.axes:
        axes.set_facecolor(PAPER)
        axes.grid(visible=False)
        if legend := axes.get_legend():
            legend.remove()
        if axes.get_yscale() == "log":
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
            axes.yaxis.set_major_formatter("{x:.7g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        for lines in axes.collections:
            if isinstance(lines, LineCollection):
                # Optuna's lightest lines are white.
                lines.set_cmap(LinearSegmentedColormap.from_list("trials", ("#c3ccd6", SERIES[0])))
    for text in figure.findobj(Text):
        text.set_color(INK)


def _study_of(record: TuningRecord) -> optuna.Study:
    """Return a study of Optuna's with the complete trials of a record."""
    import optuna
    from pydantic import TypeAdapter, ValidationError

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    try:
        space = TypeAdapter(Space).validate_python(record.space)
        for trial in record.trials:
            if trial.state == "complete":
                drawn = optuna.trial.FixedTrial(space.encode(trial.values) or {})
                space.suggest(cast("optuna.Trial", drawn))  # it has the same methods
                names = {name: name.removeprefix("training.") for name in drawn.params}
                study.add_trial(
                    optuna.trial.create_trial(
                        params={names[name]: value for name, value in drawn.params.items()},
                        distributions={
                            names[name]: value for name, value in drawn.distributions.items()
                        },
                        value=trial.accuracy,
                    )
                )
    except (ValidationError, LookupError, ValueError) as error:
        raise CellError(
            f"{TUNINGS.locate(record)}: trials outside their space ({describe_error(error)})"
        ) from None
    return study
