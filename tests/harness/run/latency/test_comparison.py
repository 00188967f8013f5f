"""The processes of a comparison: one lock, one exit code, one line for what goes wrong."""

import os
import signal

import pytest
import torch
from pydantic import TypeAdapter

from harness.errors import CellError
from harness.launch import local
from harness.measure.lock import lock_path
from harness.measurements import latency as side_by_side
from harness.measurements.latency import LatencySideBySide, TimingJob
from harness.measurements.worker import do_job
from harness.records.cell import CELLS
from harness.records.latency import LATENCIES
from harness.run import latency
from tests.refusals import make_request

from .conftest import rows_of

MEASUREMENT = LatencySideBySide()


def compare(job):
    return MEASUREMENT.run(job, make_request(job.jobs[0].weights_dir.parent))


@pytest.fixture
def in_this_process(monkeypatch):
    """Let this process be all children; return what each of them saw."""
    seen = []

    def run(name, job, _request):
        assert name == MEASUREMENT.name
        seen.append((job.number, lock_path("cpu").with_suffix(".holder").read_text()))
        return do_job(MEASUREMENT, job)

    monkeypatch.setattr(side_by_side, "run_in_child", run)
    return seen


def test_processes_come_one_after_the_other_under_one_lock(make_job, in_this_process):
    job = make_job("plain", "fragile", processes=3)
    assert compare(job) == 0
    holder = f"digits/latency-cpu (process {os.getpid()})"
    assert in_this_process == [(0, holder), (1, holder), (2, holder)]
    assert lock_path("cpu").with_suffix(".holder").read_text() == ""
    (record,) = LATENCIES.read_all(job.jobs[0].results_dir)
    assert (record.processes, record.rounds) == (3, 60)
    row = rows_of(record)["fragile", "eager"]
    assert len(row.ratio_by_process) == 3
    assert row.ratio == sorted(row.ratio_by_process)[1]
    assert rows_of(record)["plain", "eager"].ratio_by_process == [1, 1, 1]


@pytest.mark.parametrize(
    ("models", "code", "written", "ran"),
    [(("plain",), 0, 1, 2), (("plain", "routed"), 1, 1, 2), (("routed",), 1, 0, 1)],
)
def test_the_exit_code(make_job, capsys, in_this_process, models, code, written, ran):
    job = make_job(*models, reference=models[0], processes=2)
    assert compare(job) == code
    assert len(in_this_process) == ran
    found = LATENCIES.read_all(job.jobs[0].results_dir)
    assert [len(record.rows) for record in found] == [len(models)] * written
    _begun, *errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 - written
    assert written or errors[0].startswith(
        "digits/latency-cpu: the reference routed in eager cannot"
    )


@pytest.mark.parametrize("code", [1, 2])
def test_a_process_that_ends_badly_ends_the_comparison(make_job, monkeypatch, code):
    codes = [0, code]

    def run(_name, job, _request):
        return do_job(MEASUREMENT, job) or codes.pop(0)

    monkeypatch.setattr(side_by_side, "run_in_child", run)
    job = make_job("plain", processes=3)
    assert compare(job) == code
    assert LATENCIES.read_all(job.jobs[0].results_dir) == []
    assert lock_path("cpu").with_suffix(".holder").read_text() == ""


def test_an_interruption_lets_go_of_the_device(make_job, monkeypatch):
    def run(_name, _job, _request):
        raise KeyboardInterrupt

    monkeypatch.setattr(side_by_side, "run_in_child", run)
    job = make_job("plain")
    with pytest.raises(KeyboardInterrupt):
        compare(job)
    assert lock_path("cpu").with_suffix(".holder").read_text() == ""
    assert not list(job.jobs[0].results_dir.rglob("*"))


def test_a_comparison_that_cannot_be_written(make_job, in_this_process):
    job = make_job("plain")
    job.jobs[0].results_dir.write_text("a file, no folder")
    with pytest.raises(CellError, match="cannot write "):
        compare(job)


def test_an_error_that_nobody_foresaw_is_one_line_too(make_job, capsys, monkeypatch, tmp_path):
    def fail(_job, _number):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")

    monkeypatch.setattr(latency, "time_models", fail)
    job = TimingJob(comparison=make_job("plain"), number=0, answer=tmp_path / "a")
    assert do_job(MEASUREMENT, job) == 1
    assert capsys.readouterr().err == (
        "digits/latency-cpu: OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n"
    )


def test_a_killed_child_leaves_no_record(make_job, monkeypatch, tmp_path):
    class Killed:
        def __init__(self, command, stdin, env, **_):
            assert command[-3:] == ["harness.measurements.worker", "latency", "--offline"]
            self.stdin = (tmp_path / "job.json").open("wb")

        def wait(self):
            return -signal.SIGKILL

    monkeypatch.setattr(local.subprocess, "Popen", Killed)
    job = make_job("plain", processes=3)
    with pytest.raises(CellError, match=r"the process was ended by SIGKILL .out of memory\?.$"):
        compare(job)
    results = job.jobs[0].results_dir
    assert (CELLS.read_all(results), LATENCIES.read_all(results)) == ([], [])
    sent = TypeAdapter(TimingJob).validate_json((tmp_path / "job.json").read_bytes())
    assert (sent.comparison, sent.number) == (job, 0)
    assert lock_path("cpu").with_suffix(".holder").read_text() == ""
