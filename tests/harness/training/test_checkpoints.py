"""Checkpoints: whole whenever the process is killed, and what comes after a power failure."""

import io
import math
import os
from pathlib import Path

import pytest
import torch

from harness.errors import RequestError
from harness.training import checkpoints
from harness.training.checkpoints import (
    delete_checkpoint,
    load_checkpoint,
    load_training,
    previous_path,
    save_checkpoint,
)
from harness.util import files


class Killed(BaseException):
    pass


def make_state(number, size=1000):
    return {"number": number, "tensors": [torch.full((size,), number + i) for i in range(3)]}


def save(path, *numbers):
    for number in numbers:
        save_checkpoint(path, make_state(number))


def number_in(path):
    """Return the number of the state on disk, all of which must be of one piece."""
    state = load_checkpoint(path)
    assert all(t.eq(state["number"] + i).all() for i, t in enumerate(state["tensors"]))
    return state["number"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.checkpoint"


def test_a_checkpoint_keeps_numbers_and_tensors(path):
    save_checkpoint(path, {"a": torch.ones(2), "b": [1, 2.5, "x"], "c": {"d": math.pi}})
    state = load_checkpoint(path)
    assert torch.equal(state["a"], torch.ones(2))
    assert (state["b"], state["c"]) == ([1, 2.5, "x"], {"d": math.pi})


def test_deleting_takes_what_a_killed_process_left(path):
    save(path, 1)
    # No process has a number above 2**22.
    path.with_name(f".{path.name}.{files._HOST}-{2**30}.tmp").write_text("half")
    delete_checkpoint(path)
    assert list(path.parent.iterdir()) == []


def test_two_files_take_turns(path):
    seen = set()
    for number in range(6):
        save(path, number)
        assert number_in(path) == number
        seen.add(path.stat().st_ino)
    assert len(seen) == 2
    assert {file.name for file in path.parent.iterdir()} == {path.name, previous_path(path).name}
    delete_checkpoint(path)
    assert load_checkpoint(path) is None
    assert list(path.parent.iterdir()) == []


def test_a_smaller_state_leaves_nothing_of_a_larger_one(path):
    for size in (100_000, 100_000, 10, 10):
        save_checkpoint(path, make_state(size, size))
    assert number_in(path) == 10
    assert path.stat().st_size < 10_000


def test_what_was_loaded_does_not_change_with_the_files(path):
    save(path, 1)
    loaded = load_checkpoint(path)
    save(path, 2, 3, 4)
    assert loaded["tensors"][2].eq(3).all()


def kill_after(calls, monkeypatch, name):
    """Let a call of a file operation be the last thing that the process does."""
    real, left = getattr(Path, name), [calls]

    def operate(self, *arguments):
        if not left[0]:
            raise Killed
        left[0] -= 1
        return real(self, *arguments)

    monkeypatch.setattr(Path, name, operate)


def kill_while_writing(monkeypatch, share):
    """Let the process end when a share of the state has been written."""

    def save(state, file):
        whole = io.BytesIO()
        real(state, whole)
        file.write(whole.getvalue()[: int(len(whole.getvalue()) * share)])
        file.flush()
        raise Killed

    real = torch.save
    monkeypatch.setattr(checkpoints.torch, "save", save)


MOMENTS = {
    "before the old file is taken": lambda patch: kill_after(0, patch, "replace"),
    "before the first byte": lambda patch: kill_after(0, patch, "touch"),
    "half way": lambda patch: kill_while_writing(patch, 0.5),
    "after the last byte": lambda patch: kill_while_writing(patch, 1),
    "before the last whole one steps aside": lambda patch: kill_after(1, patch, "replace"),
    "when it has": lambda patch: kill_after(2, patch, "replace"),
}


@pytest.mark.parametrize("kill", MOMENTS.values(), ids=MOMENTS)
@pytest.mark.parametrize("before", [(), (1,), (1, 2), (1, 2, 3)])
def test_a_kill_loses_what_was_being_written_and_no_more(path, before, kill):
    save(path, *before)
    with pytest.MonkeyPatch.context() as patch:
        kill(patch)
        # A process that is killed does not tidy up.
        patch.setattr(Path, "unlink", lambda self, missing_ok=False: None)
        with pytest.raises(Killed):
            save(path, 9)
    # A first state lies nowhere else: there is nothing to go on from before it has its name.
    assert (number_in(path) if before else load_checkpoint(path)) == (before or (None,))[-1]
    save(path, 10)
    assert number_in(path) == 10


def test_an_interruption_leaves_no_third_file(path):
    save(path, 1, 2)
    with pytest.MonkeyPatch.context() as patch:
        kill_while_writing(patch, 0.5)
        with pytest.raises(Killed):
            save(path, 3)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert number_in(path) == 2


STATE = {
    "network": {"weight": torch.ones(2)},
    "random": {},
    "logs": [
        {"epoch": 1, "loss": 0.5, "accuracy": 0.9, "learning_rate": 1e-3, "seconds": 2.0},
    ],
    "tally": {"step": 3, "images": 12, "seconds": 1.0, "loss_sum": torch.ones(()), "correct": 1},
    "start": "random",
}


@pytest.mark.parametrize(
    "change",
    [
        {"logs": "none"},
        {"logs": {"epoch": 1}},
        {"logs": [3]},
        {"logs": [STATE["logs"][0] | {"epoch": 2}]},
        {"logs": [STATE["logs"][0] | {"loss": "low"}]},
        {"tally": None},
        {"tally": []},
        {"tally": {"step": "3", "images": 12, "seconds": 1.0}},
        {"tally": STATE["tally"] | {"step": -1}},
        {"tally": STATE["tally"] | {"step": True}},
        {"network": None},
        {"start": "somewhere"},
    ],
)
def test_a_state_that_is_broken_inside_is_named(path, change):
    save_checkpoint(path, STATE)
    assert load_training(path)["tally"]["step"] == 3
    save_checkpoint(path, STATE | change)
    with pytest.raises(RequestError, match=r"net.checkpoint: a damaged checkpoint.*; delete net.c"):
        load_training(path)


@pytest.mark.parametrize(
    ("make", "words"),
    [(os.mkfifo, "a damaged checkpoint"), (Path.mkdir, "a damaged checkpoint")],
)
def test_what_is_no_file_is_not_waited_for(path, make, words):
    make(path)
    with pytest.raises(RequestError, match=words):
        load_training(path)


def flip(file):
    """Change one byte of a tensor, as a page that never reached the disk would."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("spoil", [flip, lambda file: file.write_bytes(b"")])
def test_the_one_before_stands_in_for_a_file_that_is_not_whole(path, spoil):
    save(path, 1, 2, 3)
    spoil(path)
    assert number_in(path) == 2
    spoil(previous_path(path))
    with pytest.raises(RequestError, match=r"net.checkpoint: a damaged checkpoint, or .*; delete"):
        load_checkpoint(path)
