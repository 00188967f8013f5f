"""What several processes found, made one record: every figure follows by hand."""

from datetime import UTC, datetime

import pytest

from harness.jobs import LatencyJob
from harness.measure.ratios import Rounds
from harness.records.latency import LatencyRow
from harness.records.parts import Load, Machine
from harness.run.latency import ProcessTimes
from harness.run.latency_pool import pool_processes
from harness.settings_spec import Settings
from tests.jobs import make_job

STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
JOB = LatencyJob(
    jobs=tuple(make_job(model=model, settings=Settings(seed=7)) for model in ("slow", "fast")),
    reference="slow",
    runtimes=("eager",),
    command="again",
)


def make_process(
    fast_ms, *, drift=0.01, reruns=0, reason=None, difference=0.0, cores=(2,), busy=None
):
    """Return the times of a process in which the reference takes 20 ms."""
    times_ms = {"slow in eager": [20.0] * 20}
    if reason is None:
        times_ms["fast in eager"] = [fast_ms] * 20
    rows = (
        LatencyRow(model="slow", label="Slow", runtime="eager"),
        LatencyRow(
            model="fast", label="Fast", runtime="eager", reason=reason, max_difference=difference
        ),
    )
    load = {
        "load_average_before": fast_ms,
        "load_average_after": 2 * fast_ms,
        "others_share": 0.001 * fast_ms,
        "stolen_share": None,
    }
    fields = {
        "rows": rows,
        "rounds": Rounds(times_ms=times_ms, on_gpu=False, drift=drift, reruns=reruns),
        "machine": Machine(
            device_name="a processor",
            threads=1,
            cores=cores and list(cores),
            load=Load(**load),
            busy=busy,
        ),
        "data_name": "images",
        "data_sha256": "abcd",
        "environment": {"device_name": "a processor", "git_commit": "c0ffee", "git_dirty": True},
    }
    return ProcessTimes(**fields)


def pool(*processes):
    record = pool_processes(JOB, processes, STARTED)
    return record, {row.model: row for row in record.rows}


def test_rows_have_the_figures_of_all_processes():
    record, rows = pool(
        make_process(5.0, difference=0.1), make_process(4.0, difference=0.3), make_process(10.0)
    )
    assert (record.processes, record.rounds) == (3, 60)
    fast = rows["fast"]
    assert fast.ratio_by_process == [0.25, 0.2, 0.5]
    assert (fast.ratio, fast.ratio_low, fast.ratio_high) == (0.25, 0.2, 0.5)
    assert (fast.latency_ms_p05, fast.latency_ms_p50, fast.latency_ms_p95) == (4, 5, 10)
    assert fast.max_difference == 0.3
    assert rows["slow"].ratio_by_process == [1, 1, 1]
    assert rows["slow"].latency_ms_p50 == 20


def test_what_is_said_of_all_processes():
    record, _ = pool(
        make_process(5.0, drift=0.02, reruns=1, cores=[3]),
        make_process(30.0, drift=0.04, reruns=2, busy="other processes took 30% of the CPU"),
        make_process(8.0, drift=0.03),
    )
    assert record.machine.cores == [2, 3]
    assert (record.drift, record.drifted, record.reruns) == (0.04, False, 3)
    assert record.machine.load == Load(
        load_average_before=5, load_average_after=16, others_share=0.03, stolen_share=None
    )
    assert record.machine.busy == "other processes took 30% of the CPU"
    assert (record.reference, record.reference_runtime, record.seed) == ("slow", "eager", 7)
    assert (record.dataset, record.device, record.machine.device_name) == (
        "d",
        "cpu",
        "a processor",
    )
    found = record.provenance
    assert (found.git_commit, found.git_dirty, found.command) == ("c0ffee", True, "again")
    assert (record.data_name, record.data_sha256) == ("images", "abcd")
    assert found.started == "2026-01-02T03:04:05+00:00"


def test_one_process_that_drifted_too_much_is_said():
    record, _ = pool(make_process(5.0), make_process(5.0, drift=0.06))
    assert (record.drift, record.drifted) == (0.06, True)


def test_cores_are_given_only_where_all_processes_kept_to_some():
    record, _ = pool(make_process(5.0), make_process(5.0, cores=None))
    assert record.machine.cores is None


@pytest.mark.parametrize("number", [0, 1])
def test_a_model_that_one_process_could_not_time_has_its_reason(number):
    processes = [make_process(5.0), make_process(5.0)]
    processes[number] = make_process(5.0, reason="no memory")
    _, rows = pool(*processes)
    assert rows["fast"].reason == "no memory"
    assert (rows["fast"].ratio, rows["fast"].ratio_by_process) == (None, [])
    assert rows["slow"].ratio == 1
