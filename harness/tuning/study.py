"""Optuna studies that may be killed at any time, and go on as if they had not been."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.errors import CellError
from harness.records.tuning import TrialResult
from harness.tuning.space import Space
from harness.util.error_text import describe_error

if TYPE_CHECKING:
    import optuna

# Trials before the sampler follows a model of what it saw, and before trials are given up.
_FIRST_TRIALS = 4
# Exceptions of reading a study whose lines are cut off or altered.
_DAMAGED = (ValueError, LookupError, TypeError, AttributeError)
_STATES: dict[str, Literal["complete", "pruned", "failed"]] = {
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
}

Report = Callable[[Mapping[str, Any], Callable[[], float]], None]
"""Takes the log of an epoch and what measures the accuracy after it, which is called unless the
study has that epoch already; raises where the trial is given up."""
Train = Callable[[int, Mapping[str, Any], Report], float]
"""Trains by the settings of a numbered trial, and returns its accuracy, percent."""


def run_trials(
    path: Path, space: Space, count: int, seed: int, usual: Mapping[str, Any], train: Train
) -> list[TrialResult]:
    """Run trials until a study has so many, and return them in their order.

    The study is a file of JSON lines, to which every step is appended. A trial that was running
    when its process ended goes on. What a trial draws depends on the seed and on the trials before
    it, so a study that was interrupted has the trials of one that was not.

    Args:
        path: The file; only one process at a time may run trials of it.
        space: The search space.
        count: Number of trials.
        seed: The seed of what trials draw.
        usual: The settings of the untuned recipe, which are the first trial if the space has them.
        train: Runs a trial; a CellError counts as a trial that failed.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        study = optuna.create_study(
            storage=optuna.storages.JournalStorage(JournalFileBackend(str(path))),
            study_name="tuning",
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=_FIRST_TRIALS),
            load_if_exists=True,
        )
    except _DAMAGED as error:
        raise CellError(
            f"{path}: a damaged study ({describe_error(error)}): delete it to start anew"
        ) from error
    while len(ended := [each for each in study.trials if each.state.is_finished()]) < count:
        study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=_FIRST_TRIALS, multivariate=True, seed=seed + len(ended)
        )
        running = study.get_trials(states=[optuna.trial.TrialState.RUNNING])
        if running:
            trial = optuna.Trial(study, running[0]._trial_id)
        else:
            if not study.trials and (first := space.encode(usual)):
                study.enqueue_trial(first)
            trial = study.ask()
        _run(study, trial, space, train)
    return [_result(each, space) for each in ended[:count]]


def _run(study: optuna.Study, trial: optuna.Trial, space: Space, train: Train) -> None:
    import optuna

    def report(log: Mapping[str, Any], judge: Callable[[], float]) -> None:
        if log["epoch"] <= trial.user_attrs.get("epochs", 0):
            return  # A checkpoint brings the epochs before it.
        # The last epoch is judged with what the training leaves, such as a moving average.
        last = log["epoch"] >= space.epochs
        if not last:
            trial.report(judge(), log["epoch"])
        trial.set_user_attr("seconds", trial.user_attrs.get("seconds", 0.0) + log["seconds"])
        trial.set_user_attr("epochs", log["epoch"])
        if not last and trial.should_prune():
            raise optuna.TrialPruned

    accuracy, state = None, optuna.trial.TrialState.COMPLETE
    try:
        accuracy = train(trial.number, space.suggest(trial), report)
    except optuna.TrialPruned:
        state = optuna.trial.TrialState.PRUNED
    except CellError as error:
        trial.set_user_attr("reason", str(error))
        state = optuna.trial.TrialState.FAIL
    study.tell(trial, accuracy, state=state)


def _result(trial: optuna.trial.FrozenTrial, space: Space) -> TrialResult:
    epochs = trial.user_attrs.get("epochs", 0)
    return TrialResult(
        number=trial.number,
        state=_STATES[trial.state.name],
        values=space.decode(trial.params),
        accuracy=trial.value if trial.value is not None else trial.intermediate_values.get(epochs),
        epochs=epochs,
        seconds=round(trial.user_attrs.get("seconds", 0.0), 1),
        reason=trial.user_attrs.get("reason"),
    )


def best_of(trials: Sequence[TrialResult]) -> TrialResult:
    """Return the most accurate complete trial, the first of equals; CellError: there is none."""
    complete = [each for each in trials if each.state == "complete"]
    if not complete:
        reasons = {each.reason for each in trials if each.reason}
        raise CellError(f"no trial came to its end: {'; '.join(sorted(reasons))}")
    return max(complete, key=lambda each: each.accuracy or 0.0)
