"""Optuna studies that may be killed at any time, and that several processes may share."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.errors import CellError
from harness.records.tuning import TrialResult
from harness.tuning.space import Space
from harness.util.error_text import describe_error
from harness.util.locks import shared_lock

if TYPE_CHECKING:
    import optuna

# Trials before the sampler follows a model of what it saw, and before trials are given up.
_FIRST_TRIALS = 4
# Between two looks whether a trial of another process has ended.
_WAIT_SECONDS = 0.5
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
    path: Path,
    space: Space,
    count: int,
    seed: int,
    usual: Mapping[str, Any],
    train: Train,
    discard: Callable[[int], None] = lambda _: None,
) -> list[TrialResult]:
    """Run trials until a study has so many, and return them in their order.

    The study is a file of JSON lines, to which every step is appended. Several processes may run
    trials of it side by side: each takes the next number, and none is taken twice. A trial whose
    process has ended is taken up by another one, or when this is called again. What a trial draws
    depends on the seed and on the trials that have ended before it began: where none ran beside
    it, a study that was interrupted has the trials of one that was not.

    Args:
        path: The file.
        space: The search space.
        count: Number of trials.
        seed: The seed of what trials draw.
        usual: The settings of the untuned recipe, which are the first trial if the space has them.
        train: Runs a trial; a CellError counts as a trial that failed.
        discard: Deletes what a trial has left that is of no use after its end.
    """
    study = _open_study(path, space.epochs)
    while not _has(study, count):
        with ExitStack() as until_told:
            trial = _take_trial(study, path, space, count, seed, usual, until_told)
            if trial is None:
                time.sleep(_WAIT_SECONDS)
                continue
            _run(study, trial, space, train)
            discard(trial.number)
    for number in range(count):  # Also where a process ended between the two.
        discard(number)
        _lock_of(path, str(number)).unlink(missing_ok=True)
    return [_result(each, space) for each in study.trials[:count]]


def _open_study(path: Path, epochs: int) -> optuna.Study:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # The longest warm-up is half of all epochs: before, trials differ by where they are in it.
    first_judged = epochs // 2 + 1
    pruner = optuna.pruners.MedianPruner(_FIRST_TRIALS, n_warmup_steps=first_judged)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Two processes that make the same study would leave a damaged one.
        with shared_lock(_lock_of(path, "study")):
            return optuna.create_study(
                storage=optuna.storages.JournalStorage(JournalFileBackend(str(path))),
                study_name="tuning",
                direction="maximize",
                pruner=pruner,
                load_if_exists=True,
            )
    except _DAMAGED as error:
        raise CellError(
            f"{path}: a damaged study ({describe_error(error)}): delete it to start anew"
        ) from error


def _lock_of(path: Path, what: str) -> Path:
    # Optuna's own lock is `<path>.lock`.
    return path.with_name(f"{path.stem}-{what}.lock")


def _has(study: optuna.Study, count: int) -> bool:
    """Return whether the first so many trials have ended."""
    trials = study.trials[:count]
    return len(trials) == count and all(each.state.is_finished() for each in trials)


def _take_trial(
    study: optuna.Study,
    path: Path,
    space: Space,
    count: int,
    seed: int,
    usual: Mapping[str, Any],
    until_told: ExitStack,
) -> optuna.Trial | None:
    """Return a trial that nobody runs, locked until the stack ends; None: all are taken."""
    import optuna

    def lock(number: int) -> None:
        until_told.enter_context(shared_lock(_lock_of(path, str(number)), _refuse_to_wait))

    with shared_lock(_lock_of(path, "study")):
        running = study.get_trials(states=[optuna.trial.TrialState.RUNNING])
        for each in running:
            if each.number >= count:
                continue
            with suppress(_TakenError):
                lock(each.number)
                if not study.trials[each.number].state.is_finished():
                    study.sampler = _make_sampler(
                        seed + each.number, beside=bool(each.user_attrs.get("beside"))
                    )
                    return optuna.Trial(study, each._trial_id)
                until_told.close()  # It has ended since.
        waiting = study.get_trials(states=[optuna.trial.TrialState.WAITING])
        number = len(study.trials) - len(waiting)
        if number >= count:
            return None
        if not study.trials and (first := space.encode(usual)):
            study.enqueue_trial(first)
        lock(number)
        study.sampler = _make_sampler(seed + number, beside=bool(running))
        trial = study.ask()
        trial.set_user_attr("beside", len(running))
        return trial


def _make_sampler(seed: int, *, beside: bool) -> optuna.samplers.BaseSampler:
    """Return the sampler of one trial; beside others that run, it keeps away from their draws."""
    import optuna

    return optuna.samplers.TPESampler(
        n_startup_trials=_FIRST_TRIALS, multivariate=True, constant_liar=beside, seed=seed
    )


class _TakenError(Exception):
    """Another process runs the trial."""


def _refuse_to_wait() -> None:
    raise _TakenError


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
    study.tell(trial, accuracy, state=state, skip_if_finished=True)


def _result(trial: optuna.trial.FrozenTrial, space: Space) -> TrialResult:
    epochs = trial.user_attrs.get("epochs", 0)
    return TrialResult(
        number=trial.number,
        state=_STATES[trial.state.name],
        values=space.decode(trial.params),
        accuracy=trial.value if trial.value is not None else trial.intermediate_values.get(epochs),
        epochs=epochs,
        seconds=round(trial.user_attrs.get("seconds", 0.0), 1),
        beside=trial.user_attrs.get("beside", 0),
        reason=trial.user_attrs.get("reason"),
    )


def best_of(trials: Sequence[TrialResult]) -> TrialResult:
    """Return the most accurate complete trial, the first of equals; CellError: there is none."""
    complete = [each for each in trials if each.state == "complete"]
    if not complete:
        reasons = {each.reason for each in trials if each.reason}
        raise CellError(f"no trial came to its end: {'; '.join(sorted(reasons))}")
    return max(complete, key=lambda each: each.accuracy or 0.0)
