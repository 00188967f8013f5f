"""Shares of CPU time: by a psutil that the tests make up, and with a child that is busy."""

import dataclasses
import json
import subprocess
import sys
from collections import namedtuple
from time import perf_counter, sleep

import psutil
import pytest

from harness.measure.load import Load, LoadWatch

SYSTEM = {
    "user": 100.0,
    "nice": 1.0,
    "system": 50.0,
    "idle": 800.0,
    "iowait": 20.0,
    "irq": 2.0,
    "softirq": 3.0,
    "steal": 24.0,
    "guest": 10.0,
    "guest_nice": 1.0,
}
OWN = {"user": 9.0, "system": 8.0, "children_user": 7.0, "children_system": 6.0}


@pytest.fixture
def tell(monkeypatch):
    """Return what sets the system's times and this process', in seconds."""

    def tell(system, own):
        values = namedtuple("times", system)(**system)
        monkeypatch.setattr(psutil, "cpu_times", lambda: values)
        process = namedtuple("times", own)(**own)
        monkeypatch.setattr(psutil.Process, "cpu_times", lambda _: process)

    return tell


def add(times, **seconds):
    return times | {kind: times[kind] + more for kind, more in seconds.items()}


def watch(tell, system, own):
    kinds = {kind: SYSTEM[kind] for kind in system}
    tell(kinds, OWN)
    watch = LoadWatch()
    tell(system, own)
    return watch.read()


def test_shares_are_of_the_time_of_all_cores(tell):
    system = add(SYSTEM, user=30, nice=4, system=5, irq=1, idle=40, iowait=10, steal=10)
    own = add(OWN, user=10, system=5, children_user=3, children_system=2)
    load = watch(tell, system, own)
    assert load.others_share == pytest.approx((30 + 4 + 5 + 1 - 20) / 100)
    assert load.stolen_share == pytest.approx(10 / 100)


def test_a_guests_time_counts_once(tell):
    load = watch(tell, add(SYSTEM, user=50, guest=50, nice=10, guest_nice=10, idle=40), OWN)
    assert load.others_share == pytest.approx(0.6)


def test_own_time_alone_leaves_the_machine_quiet(tell):
    load = watch(tell, add(SYSTEM, user=50, idle=50), add(OWN, user=50))
    assert (load.others_share, load.stolen_share, load.busy) == (0, 0, False)


def test_children_that_ended_may_have_begun_before(tell):
    load = watch(tell, add(SYSTEM, user=50, idle=50), add(OWN, children_user=500))
    assert load.others_share == 0


def test_a_system_that_does_not_tell_what_is_stolen(tell):
    kinds = ("user", "nice", "system", "idle")
    load = watch(tell, add({kind: SYSTEM[kind] for kind in kinds}, user=30, idle=70), OWN)
    assert (load.others_share, load.stolen_share) == (pytest.approx(0.3), None)


def test_a_block_too_short_to_be_counted(tell):
    load = watch(tell, SYSTEM, OWN)
    assert (load.others_share, load.stolen_share, load.busy) == (None, None, False)
    assert load.describe() == "the system does not tell what else ran"


@pytest.mark.parametrize("error", [OSError(13, "denied"), psutil.AccessDenied()])
def test_a_system_that_tells_nothing(monkeypatch, error):
    def refuse():
        raise error

    monkeypatch.setattr(psutil, "cpu_times", refuse)
    load = LoadWatch().read()
    assert (load.others_share, load.stolen_share) == (None, None)


def test_load_averages_before_and_after(monkeypatch):
    answers = iter([(0.5, 0, 0), (1.5, 0, 0)])
    monkeypatch.setattr(psutil, "getloadavg", lambda: next(answers))
    load = LoadWatch().read()
    assert load.load_average_before == 0.5
    assert load.load_average_after == 1.5


def test_no_load_averages(monkeypatch):
    def refuse():
        raise OSError("no load average")

    monkeypatch.setattr(psutil, "getloadavg", refuse)
    load = LoadWatch().read()
    assert load.load_average_before is None
    assert load.load_average_after is None


@pytest.mark.parametrize(
    ("others", "stolen", "busy", "description"),
    [
        (0.38, 0.0, True, "other processes took 38% of the CPU"),
        (0.0, 0.12, True, "the hypervisor took 12% of the CPU"),
        (
            *(0.38, 0.12, True),
            "other processes took 38% of the CPU and the hypervisor took 12% of the CPU",
        ),
        (0.05, 0.05, False, "other processes took no more than 5% of the CPU"),
        (0.38, None, True, "other processes took 38% of the CPU"),
        (None, None, False, "the system does not tell what else ran"),
    ],
)
def test_what_is_busy(others, stolen, busy, description):
    load = Load(
        load_average_before=None,
        load_average_after=None,
        others_share=others,
        stolen_share=stolen,
    )
    assert (load.busy, load.describe()) == (busy, description)


def test_it_can_be_written_as_json():
    found = dataclasses.asdict(LoadWatch().read())
    assert json.loads(json.dumps(found)) == found


def test_a_busy_child_that_still_runs_is_another_process():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as child:
        try:
            seen = psutil.Process(child.pid)
            begin, used_before = perf_counter(), seen.cpu_times().user
            watch = LoadWatch()
            while seen.cpu_times().user - used_before < 0.3:
                sleep(0.05)
            load = watch.read()
            seconds = perf_counter() - begin
        finally:
            child.kill()
    # Half of it, since the kernel counts the time of a core and of a process differently.
    assert load.others_share > 0.5 * 0.3 / (seconds * psutil.cpu_count())
