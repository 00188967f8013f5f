"""Studies: trials in order, given up, failed, and continued after a kill."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest

from harness.errors import CellError
from harness.tuning.space import Domain, Space
from harness.tuning.study import best_of, run_trials

SPACE = Space(
    held_out=0.1,
    images=10,
    epochs=2,
    search={
        "training.learning_rate": Domain(low=1e-4, high=1e-2, log=True),
        "training.shift_pixels": Domain(choices=(0, 2, 4)),
    },
)
USUAL = {"training.learning_rate": 1e-3, "training.shift_pixels": 2}


def accuracy_of(values):
    return 50 + 10 * values["training.shift_pixels"] - 1000 * values["training.learning_rate"]


def train(number, values, report):
    for epoch in (1, 2):
        report({"epoch": epoch, "seconds": 1.5}, lambda: accuracy_of(values))
    return accuracy_of(values)


def test_the_usual_recipe_comes_first_and_the_best_is_found(tmp_path):
    trials = run_trials(tmp_path / "study", SPACE, 8, 0, USUAL, train)
    assert [each.number for each in trials] == list(range(8))
    assert trials[0].values == USUAL
    assert (trials[0].epochs, trials[0].seconds, trials[0].accuracy) == (2, 3.0, 69.0)
    best = best_of(trials)
    assert best.accuracy == max(t.accuracy for t in trials if t.state == "complete")
    assert best.accuracy == accuracy_of(best.values)


def test_a_recipe_outside_the_space_is_no_trial(tmp_path):
    usual = USUAL | {"training.shift_pixels": 3}
    (trial,) = run_trials(tmp_path / "study", SPACE, 1, 0, usual, train)
    assert trial.values["training.shift_pixels"] in (0, 2, 4)


def test_a_study_that_was_killed_goes_on_in_its_trial_and_has_the_same_trials(tmp_path):
    whole = run_trials(tmp_path / "whole", SPACE, 7, 3, USUAL, train)
    begun = []

    def killed(number, values, report):
        begun.append(number)
        if len(begun) == 5:
            report({"epoch": 1, "seconds": 1.5}, lambda: accuracy_of(values))
            raise SystemExit
        return train(number, values, report)

    with pytest.raises(SystemExit):
        run_trials(tmp_path / "cut", SPACE, 7, 3, USUAL, killed)

    def resumed(number, values, report):
        begun.append(number)
        if number == 4:
            # The checkpoint brings the first epoch, which is neither judged nor counted again.
            report({"epoch": 1, "seconds": 1.5}, lambda: pytest.fail("judged again"))
            report({"epoch": 2, "seconds": 1.5}, lambda: accuracy_of(values))
            return accuracy_of(values)
        return train(number, values, report)

    assert run_trials(tmp_path / "cut", SPACE, 7, 3, USUAL, resumed) == whole
    assert begun == [0, 1, 2, 3, 4, 4, 5, 6]


def test_more_trials_go_on_after_those_that_are_there(tmp_path):
    first = run_trials(tmp_path / "study", SPACE, 3, 0, USUAL, train)
    assert run_trials(tmp_path / "study", SPACE, 5, 0, USUAL, train)[:3] == first


def test_a_hopeless_trial_is_given_up_when_warm_ups_are_over(tmp_path):
    def falling(number, values, report):
        for epoch in range(1, 5):
            report({"epoch": epoch, "seconds": 1.0}, lambda: 90.0 - 10 * number)
        return 90.0 - 10 * number

    space = dataclasses.replace(SPACE, epochs=4)
    trials = run_trials(tmp_path / "study", space, 6, 0, USUAL, falling)
    assert [each.state for each in trials] == ["complete"] * 4 + ["pruned"] * 2
    assert [(each.epochs, each.accuracy) for each in trials[4:]] == [(3, 50.0), (3, 40.0)]


def test_a_trial_that_breaks_is_counted_and_says_why(tmp_path):
    def breaking(number, values, report):
        if number == 1:
            raise CellError("the loss is not finite")
        return train(number, values, report)

    trials = run_trials(tmp_path / "study", SPACE, 3, 0, USUAL, breaking)
    assert [each.state for each in trials] == ["complete", "failed", "complete"]
    assert (trials[1].reason, trials[1].accuracy) == ("the loss is not finite", None)


def test_where_no_trial_ends_there_is_no_best(tmp_path):
    def breaking(*_):
        raise CellError("the loss is not finite")

    trials = run_trials(tmp_path / "study", SPACE, 2, 0, USUAL, breaking)
    with pytest.raises(CellError, match="no trial came to its end: the loss is not finite"):
        best_of(trials)


@pytest.mark.parametrize("text", ["no JSON\n{}\n", "[]\n", '{"op_code": 4}\n', '{"op_code": 0}\n'])
def test_a_damaged_study_is_named(tmp_path, text):
    path = tmp_path / "study"
    path.write_text(text)
    with pytest.raises(CellError, match="study: a damaged study .*: delete it to start anew"):
        run_trials(path, SPACE, 1, 0, USUAL, train)


def in_threads(path, count, trains):
    """Run trials of one study in as many threads as there are functions that train."""
    with ThreadPoolExecutor(len(trains)) as pool:
        tasks = [
            pool.submit(run_trials, path, SPACE, count, 0, USUAL, each, lambda _: None)
            for each in trains
        ]
    return [task.result() if task.exception() is None else task.exception() for task in tasks]


def test_workers_share_a_study_and_take_no_trial_twice(tmp_path):
    begun, both = [], Barrier(2)

    def slow(number, values, report):
        begun.append(number)
        if number < 2:
            both.wait(3600)  # Two trials run at once.
        return train(number, values, report)

    first, second = in_threads(tmp_path / "study", 7, [slow, slow])
    assert first == second
    assert sorted(begun) == [each.number for each in first] == list(range(7))
    assert {each.state for each in first} <= {"complete", "pruned"}
    assert [each.beside for each in first[:2]] == [0, 1]
    assert len({each.values["training.learning_rate"] for each in first}) == 7


def test_the_trial_of_a_worker_that_dies_is_taken_up_by_another(tmp_path):
    begun, dead = [], Event()

    def dying(number, values, report):
        report({"epoch": 1, "seconds": 1.5}, lambda: accuracy_of(values))
        begun.append(number)
        dead.set()
        raise SystemExit

    def living(number, values, report):
        dead.wait(3600)
        begun.append(number)
        return train(number, values, report)

    death, trials = in_threads(tmp_path / "study", 5, [dying, living])
    assert isinstance(death, SystemExit)
    assert [each.number for each in trials] == list(range(5))
    assert all(each.state == "complete" for each in trials[:4])
    # One was begun twice, and has each epoch once.
    assert len(begun) == 6
    assert all(each.epochs == 2 and each.seconds == 3.0 for each in trials[:4])


def test_a_trial_beyond_those_that_are_wanted_is_left_alone(tmp_path):
    def cut(number, values, report):
        if number == 3:
            raise SystemExit
        return train(number, values, report)

    with pytest.raises(SystemExit):
        run_trials(tmp_path / "study", SPACE, 8, 0, USUAL, cut)
    trials = run_trials(tmp_path / "study", SPACE, 2, 0, USUAL, lambda *_: pytest.fail("begun"))
    assert [each.number for each in trials] == [0, 1]
