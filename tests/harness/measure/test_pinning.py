"""Which cores are taken, and that every thread of the process is on them, and off them again."""

import os
import threading
from pathlib import Path

import psutil
import pytest
import torch

from harness.measure import pinning
from harness.measure.pinning import pinned

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="this system pins no threads"
)


def cores_by_thread():
    """Return the cores of each thread of this process, as the kernel has them."""
    tasks = [int(task.name) for task in Path("/proc/self/task").iterdir()]
    return {task: os.sched_getaffinity(task) for task in tasks}


@pytest.fixture
def waiting_threads():
    """Start Python threads that do nothing, and OpenMP's, as an earlier product leaves them."""
    done = threading.Event()
    threads = [threading.Thread(target=done.wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    torch.ones(256, 256) @ torch.ones(256, 256)
    torch.ones(200_000).exp()
    yield [thread.native_id for thread in threads]
    torch.set_num_threads(before)
    done.set()
    for thread in threads:
        thread.join()


@pytest.fixture
def machine(monkeypatch):
    """Return what makes up a machine: who shares a core, how busy each is; and what is pinned."""

    def machine(usable, busy, siblings):
        kept = []
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(usable))
        monkeypatch.setattr(psutil, "cpu_percent", lambda interval, percpu: busy)
        monkeypatch.setattr(pinning, "_siblings", siblings.__getitem__)
        monkeypatch.setattr(pinning, "_keep_on", lambda cpus: kept.append(list(cpus)))
        return kept

    return machine


def test_all_threads_are_pinned_and_freed(waiting_threads):
    usable = os.sched_getaffinity(0)
    with pinned(1) as cores:
        inside = cores_by_thread()
        assert len(cores) == 1
        assert set(cores) <= usable
        assert set(waiting_threads) < set(inside)
        assert len(inside) >= 6  # this one, three of Python's, two of OpenMP's
        assert set(map(frozenset, inside.values())) == {frozenset(cores)}
    assert set(map(frozenset, cores_by_thread().values())) == {frozenset(usable)}


def test_all_threads_are_freed_after_an_error(waiting_threads):
    usable = os.sched_getaffinity(0)
    with pytest.raises(ZeroDivisionError), pinned(1):
        raise ZeroDivisionError
    assert set(map(frozenset, cores_by_thread().values())) == {frozenset(usable)}


def test_a_thread_that_ends_meanwhile_is_passed_over(monkeypatch, tmp_path):
    (tmp_path / str(2**22 + 1)).mkdir()  # beyond any thread's number
    (tmp_path / str(threading.get_native_id())).mkdir()
    monkeypatch.setattr(pinning, "_THREADS_OF_THIS_PROCESS", tmp_path)
    with pinned(1) as cores:
        assert os.sched_getaffinity(0) == set(cores)


def test_a_system_that_cannot_pin(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    with pinned(1) as cores:
        assert cores is None


def test_fewer_cores_than_threads(machine):
    kept = machine([0, 1], [0, 0], {0: "0", 1: "1"})
    with pinned(3) as cores:
        assert cores is None
    assert kept == []


def test_as_many_threads_as_cores_need_no_look(machine, monkeypatch):
    kept = machine([3, 5], None, {})
    monkeypatch.setattr(psutil, "cpu_percent", None)
    with pinned(2) as cores:
        assert cores == (3, 5)
    assert kept == [[3, 5], [3, 5]]


# Four cores of two hardware threads each: 0 and 4 are one, 1 and 5 the next.
SIBLINGS = {cpu: f"{cpu % 4},{cpu % 4 + 4}" for cpu in range(8)}


@pytest.mark.parametrize(
    ("threads", "busy", "wanted"),
    [
        # the idlest one, wherever it is
        (1, [9, 9, 9, 9, 9, 1, 9, 9], (5,)),
        # 0 and 4 are the idlest, but of one core
        (2, [0, 5, 9, 9, 1, 6, 9, 9], (0, 1)),
        (4, [0, 5, 8, 9, 1, 4, 9, 7], (0, 2, 5, 7)),
        # only then a core's second one, again the idlest first
        (5, [0, 5, 8, 9, 3, 4, 9, 7], (0, 2, 4, 5, 7)),
        (6, [0, 5, 8, 9, 3, 4, 9, 7], (0, 1, 2, 4, 5, 7)),
    ],
)
def test_other_cores_first_then_the_idlest(machine, threads, busy, wanted):
    kept = machine(range(8), busy, SIBLINGS)
    with pinned(threads) as cores:
        assert cores == wanted
        assert kept == [list(wanted)]
    assert kept == [list(wanted), list(range(8))]


def test_cores_that_this_process_may_not_use_are_left(machine):
    machine([2, 3, 6], [0, 0, 9, 8, 0, 0, 1, 0], SIBLINGS)
    with pinned(2) as cores:
        assert cores == (3, 6)


def test_a_core_that_psutil_does_not_count_is_idle(machine):
    machine([0, 1, 2], [50.0, 50.0], {0: "0", 1: "1", 2: "2"})
    with pinned(1) as cores:
        assert cores == (2,)


def test_siblings_are_as_linux_lists_them_or_alone():
    assert "0" in pinning._siblings(0)
    assert pinning._siblings(99_999) == "99999"
