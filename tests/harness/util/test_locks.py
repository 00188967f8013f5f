"""A lock between processes, with the kernel's locks and without them."""

import errno
import multiprocessing
import time

import pytest

from harness.errors import CellError
from harness.util.locks import shared_lock


def hold(path, flock, inside, leave):
    with pytest.MonkeyPatch.context() as patch:
        if not flock:
            take_flock_away(patch)
        with shared_lock(path):
            inside.set()
            leave.wait()


def take_flock_away(patch):
    def refuse(_descriptor):
        raise OSError(errno.ENOLCK, "No locks available")

    patch.setattr("filelock._unix.lock_fd_nonblocking", refuse)


@pytest.mark.parametrize("flock", [True, False])
def test_one_process_waits_for_the_other(tmp_path, monkeypatch, flock):
    if not flock:
        take_flock_away(monkeypatch)
    path, processes = tmp_path / "folder" / "lock", multiprocessing.get_context("fork")
    inside, leave = processes.Event(), processes.Event()
    holder = processes.Process(target=hold, args=(path, flock, inside, leave))
    holder.start()
    inside.wait()
    waits = []

    def note():
        waits.append(time.monotonic())
        assert holder.is_alive()
        leave.set()

    with shared_lock(path, note):
        holder.join()
    assert len(waits) == 1
    assert holder.exitcode == 0
    with shared_lock(path, lambda: pytest.fail("nobody holds it")):
        pass


def test_a_killed_holder_gives_it_back(tmp_path):
    processes = multiprocessing.get_context("fork")
    inside, leave = processes.Event(), processes.Event()
    holder = processes.Process(target=hold, args=(tmp_path / "lock", True, inside, leave))
    holder.start()
    inside.wait()
    holder.kill()
    holder.join()
    with shared_lock(tmp_path / "lock", lambda: pytest.fail("it is free")):
        pass


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(CellError, match="cannot write .*file/lock"),
        shared_lock(tmp_path / "file/lock"),
    ):
        pass
