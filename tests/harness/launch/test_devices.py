"""Parts on several devices of one machine: none twice, none idle, one that disappears."""

import json
import os
import threading
import time
from dataclasses import dataclass

import pytest

from harness.jobs import Part
from harness.launch import local
from harness.launch.devices import Devices, share_cores
from tests.refusals import make_request


@pytest.fixture(autouse=True)
def _devices_that_stay(monkeypatch):
    monkeypatch.setattr("harness.launch.devices.gpu_is_there", lambda gpu: True)
    monkeypatch.setattr("harness.launch.devices._SECONDS", 0.01)


def make_parts(tmp_path, *names, **after):
    request = make_request(tmp_path)
    return [Part(title=name, request=request, key=name, after=after.get(name)) for name in names]


@dataclass
class CountingJob:
    count: int
    answer: str


def count_in_children(tmp_path, monkeypatch, gpus, count):
    """Let six real child processes count on as many devices, each with its share of the cores."""
    monkeypatch.setattr(local, "_WORKER", "tests.counting_worker")
    parts, request = make_parts(tmp_path, *"abcdef"), make_request(tmp_path)

    def work(number):
        job = CountingJob(count=count, answer=str(tmp_path / f"{number}.json"))
        return local.run_in_child("counting", job, request)

    assert Devices(gpus, parts, work, tmp_path / "logs").run() == [0] * 6
    return [json.loads((tmp_path / f"{number}.json").read_text()) for number in range(6)]


def test_children_have_a_device_and_cores_of_their_own(tmp_path, monkeypatch):
    found = count_in_children(tmp_path, monkeypatch, ["4", "7"], 1000)
    assert {each["gpu"] for each in found} == {"4", "7"}
    shares = {gpu: [each["cores"] for each in found if each["gpu"] == gpu] for gpu in "47"}
    assert all(each == cores[0] for cores in shares.values() for each in cores)
    if len(os.sched_getaffinity(0)) > 1:
        assert not set(shares["4"][0]) & set(shares["7"][0])
    assert (tmp_path / "logs/a.log").read_text() == "counted to 1000\n"
    for one in found:
        for other in found:
            if one is not other and one["gpu"] == other["gpu"]:
                assert one["ended"] <= other["began"] or other["ended"] <= one["began"]


class Work:
    """Notes when and on which device each part ran."""

    def __init__(self, *, codes=None, seconds=0.05):
        self.codes, self.seconds = codes or {}, seconds
        self.spans, self.lock = [], threading.Lock()

    def __call__(self, number):
        began, gpu = time.monotonic(), local._PLACE.get().gpu
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
    devices = Devices(["0", "1"], parts, Work(codes=codes), tmp_path / "logs")
    assert devices.run() == [0, 1, 2, 0]
    assert [run.state for run in devices._runs] == ["done", "failed", "refused", "done"]


def test_the_parts_of_a_device_that_disappears_run_on_the_other(tmp_path, capsys, monkeypatch):
    codes = {(number, "1"): 1 for number in range(6)}
    work = Work(codes=codes)
    monkeypatch.setattr("harness.launch.devices.gpu_is_there", lambda gpu: gpu == "0")
    devices = Devices(["0", "1"], make_parts(tmp_path, *"abcdef"), work, tmp_path / "logs")
    assert devices.run() == [0] * 6
    assert sum(gpu == "1" for _, gpu, *_ in work.spans) == 1
    assert "GPU 1 is gone" in capsys.readouterr().err


def test_without_any_device_the_rest_fails(tmp_path, capsys, monkeypatch):
    codes = {(number, gpu): 1 for number in range(4) for gpu in "01"}
    monkeypatch.setattr("harness.launch.devices.gpu_is_there", lambda gpu: False)
    devices = Devices(["0", "1"], make_parts(tmp_path, *"abcd"), Work(codes=codes), tmp_path / "l")
    assert devices.run() == [1] * 4
    assert "no GPU is left" in capsys.readouterr().err


def test_an_error_of_our_own_ends_nothing_else(tmp_path, capsys):
    def work(number):
        return 0 if number else 1 // number

    devices = Devices(["0"], make_parts(tmp_path, *"ab"), work, tmp_path / "logs")
    assert devices.run() == [1, 0]
    assert "a: ZeroDivisionError" in capsys.readouterr().err


def test_an_interruption_starts_nothing_more(tmp_path):
    def work(number):
        raise KeyboardInterrupt

    parts = make_parts(tmp_path, *"abcd")
    with pytest.raises(KeyboardInterrupt):
        Devices(["0", "1"], parts, work, tmp_path / "logs").run()


def test_shares_of_the_cores_stand_in_for_devices(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.launch.devices.gpu_is_there", lambda gpu: pytest.fail("asked"))
    work = Work(codes={(1, None): 1})
    devices = Devices([None, None], make_parts(tmp_path, *"abcd"), work, tmp_path / "logs")
    assert devices.run() == [0, 1, 0, 0]
    assert any(overlap(a, b) for a in work.spans for b in work.spans if a is not b)
    if len(os.sched_getaffinity(0)) > 1:
        assert len({frozenset(cores) for *_, cores in work.spans}) == 2
