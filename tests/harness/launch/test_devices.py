"""Parts on several devices of one machine: none twice, none idle, one that disappears."""

import os
import threading
import time

import pytest

from harness.jobs import Part
from harness.launch.devices import Devices, share_cores
from harness.launch.local import _PLACE
from tests.refusals import make_request


def make_parts(tmp_path, *names, **after):
    request = make_request(tmp_path)
    return [Part(title=name, request=request, key=name, after=after.get(name)) for name in names]


class Work:
    """Notes when and on which device each part ran."""

    def __init__(self, *, codes=None, seconds=0.05):
        self.codes, self.seconds = codes or {}, seconds
        self.spans, self.lock = [], threading.Lock()

    def __call__(self, number):
        began, gpu = time.monotonic(), _PLACE.get().gpu
        cores = os.sched_getaffinity(0)
        time.sleep(self.seconds)
        with self.lock:
            self.spans.append((number, gpu, began, time.monotonic(), cores))
        return self.codes.get((number, gpu), 0)


def overlap(one, other):
    return one[2] < other[3] and other[2] < one[3]


def test_no_device_and_no_core_is_used_twice_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.launch.devices.share_cores", lambda count: [set(), set()])
    work = Work()
    devices = Devices(["4", "7"], make_parts(tmp_path, *"abcdef"), work, tmp_path / "logs")
    assert devices.run() == [0] * 6
    assert sorted(number for number, *_ in work.spans) == list(range(6))
    assert {gpu for _, gpu, *_ in work.spans} == {"4", "7"}
    pairs = [(a, b) for a in work.spans for b in work.spans if a is not b and overlap(a, b)]
    assert pairs, "nothing ran at the same time"
    assert all(a[1] != b[1] for a, b in pairs)


def test_cores_are_shared_out(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 5, 6})
    assert share_cores(2) == [{0, 1}, {2, 5, 6}]
    assert share_cores(1) == [{0, 1, 2, 5, 6}]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert share_cores(2) == [{3}, {3}]


def test_what_starts_from_a_base_waits_for_its_training(tmp_path):
    parts = make_parts(tmp_path, "pruned", "int8", "base", "other", pruned="base", int8="base")
    work = Work()
    Devices(["0", "1"], parts, work, tmp_path / "logs").run()
    spans = {parts[span[0]].title: span for span in work.spans}
    assert spans["pruned"][2] >= spans["base"][3]
    assert spans["int8"][2] >= spans["base"][3]


def test_without_the_base_one_trains_it_and_the_other_waits(tmp_path):
    parts = make_parts(tmp_path, "pruned", "int8", pruned="base", int8="base")
    work = Work()
    Devices(["0", "1"], parts, work, tmp_path / "logs").run()
    assert not overlap(*work.spans)


def test_a_failed_part_ends_nothing_else(tmp_path):
    codes = {(1, gpu): 1 for gpu in "01"} | {(2, gpu): 2 for gpu in "01"}
    parts = make_parts(tmp_path, *"abcd")
    devices = Devices(["0", "1"], parts, Work(codes=codes), tmp_path / "logs", lambda _: True)
    assert devices.run() == [0, 1, 2, 0]
    assert [state.name for state in devices.states()] == ["done", "failed", "refused", "done"]


def test_the_parts_of_a_device_that_disappears_run_on_the_other(tmp_path, capsys):
    codes = {(number, "1"): 1 for number in range(6)}
    work = Work(codes=codes)
    devices = Devices(
        ["0", "1"], make_parts(tmp_path, *"abcdef"), work, tmp_path / "logs", lambda gpu: gpu == "0"
    )
    assert devices.run() == [0] * 6
    assert sum(gpu == "1" for _, gpu, *_ in work.spans) == 1
    assert "GPU 1 is gone" in capsys.readouterr().err


def test_without_any_device_the_rest_fails(tmp_path, capsys):
    codes = {(number, gpu): 1 for number in range(4) for gpu in "01"}
    devices = Devices(
        ["0", "1"],
        make_parts(tmp_path, *"abcd"),
        Work(codes=codes),
        tmp_path / "l",
        lambda _: False,
    )
    assert devices.run() == [1] * 4
    assert "no GPU is left" in capsys.readouterr().err


def test_an_interruption_starts_nothing_more(tmp_path):
    def work(number):
        raise KeyboardInterrupt

    parts = make_parts(tmp_path, *"abcd")
    with pytest.raises(KeyboardInterrupt):
        Devices(["0", "1"], parts, work, tmp_path / "logs").run()
