"""Comparisons of latency on the embedded digits, with networks of a few weights.

All processes of a comparison are this one.
"""

import dataclasses
import json
import os
import signal
import tempfile
from datetime import UTC, datetime

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from harness import side_by_side
from harness.building import build_network
from harness.compression.quantization import with_any_ranges
from harness.conditions import default_threads
from harness.errors import CellError, RequestError
from harness.jobs import Cell, Job, LatencyJob, TimingJob
from harness.latency_pool import pool_processes
from harness.latency_records import read_latency_records, write_latency_record
from harness.launch import local, worker
from harness.launch.comparison import compare_in_children
from harness.measure.lock import lock_path
from harness.networks import trained_weights_path
from harness.records import read_records
from harness.run import load_job_data
from harness.runtime_builders import BUILDERS, Built
from harness.settings import recipe_hash
from harness.settings_spec import MeasurementSettings, Settings
from harness.side_by_side import time_models
from harness.spec import ModelSpec
from harness.weights import Sidecar, save_weights

SIDE = 8
FIGURES = (
    *("latency_ms_p05", "latency_ms_p50", "latency_ms_p95", "latency_ms_p99"),
    *("ratio", "ratio_low", "ratio_high"),
)


class Fragile(nn.Sequential):
    """What the runtime of these tests cannot take."""


class Routed(nn.Module):
    """Sends images by their first pixel; notes what it was given."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images):
        return images.flatten(1)[:, :10]

    def prepare_for_inference(self):
        return self

    def route(self, images):
        self.seen.append(images.clone())
        return torch.zeros(len(images), dtype=torch.int64)

    def paths(self):
        return ()


ROUTED = Routed()


def build(kind):
    def build(classes, channels, _pretrained):
        return kind(nn.Flatten(), nn.Linear(channels * SIDE**2, classes))

    return build


SPECS = {
    "plain": ModelSpec(label="Plain", build=build(nn.Sequential), image_size=SIDE),
    "fragile": ModelSpec(label="Fragile", build=build(Fragile), image_size=SIDE),
    "routed": ModelSpec(
        label="Routed",
        build=lambda *_: ROUTED,
        image_size=SIDE,
        load_published=lambda _job, _classes: (ROUTED, "5ba256"),
    ),
}


@pytest.fixture(autouse=True)
def _own_surroundings(tmp_path, monkeypatch):
    # Whatever is really measured on this machine meanwhile is not waited for.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(side_by_side, "load_model", SPECS.__getitem__)
    ROUTED.seen.clear()

    def compile_network(network, _example):
        if isinstance(network, Fragile):
            raise TypeError("too fragile")
        return Built(call=lambda images: network(images) * 1.0001, version="7", method="by hand")

    monkeypatch.setitem(BUILDERS, "compile", compile_network)


@pytest.fixture
def make_job(tmp_path):
    def make_job(*models, run_in=("eager",), reference="plain", processes=1, **settings):
        quick = MeasurementSettings(
            latency_rounds=20, latency_seconds=0.01, latency_processes=processes
        )
        jobs = tuple(
            Job(
                cell=Cell(dataset="digits", model=model, device="cpu"),
                settings=Settings(
                    threads=1, measurement=quick, **({"image_size": SIDE} | settings)
                ),
                data_dir=tmp_path / "data",
                data_file=None,
                weights_dir=tmp_path / "weights",
                results_dir=tmp_path / "results",
                offline=True,
                command="",
            )
            for model in models
        )
        return LatencyJob(jobs=jobs, reference=reference, runtimes=run_in, command="again")

    return make_job


def run_latency_job(job):
    times = [time_models(job, number) for number in range(job.processes)]
    return pool_processes(job, times, datetime.now(UTC))


def rows_of(record):
    return {(row.model, row.runtime): row for row in record.rows}


def timed(row):
    return [getattr(row, name) for name in FIGURES]


def test_a_row_for_each_model_and_runtime(make_job):
    record = run_latency_job(make_job("plain", "fragile", run_in=("eager", "compile")))
    rows = rows_of(record)
    names = [("plain", "eager"), ("fragile", "eager"), ("plain", "compile"), ("fragile", "compile")]
    assert list(rows) == names
    for name in names[:3]:
        figures = timed(rows[name])
        assert all(figure > 0 for figure in figures)
        assert figures[:4] == sorted(figures[:4])
        assert rows[name].ratio_low <= rows[name].ratio <= rows[name].ratio_high
        assert rows[name].reason is None

    reference = rows["plain", "eager"]
    assert (reference.ratio, reference.ratio_low, reference.ratio_high) == (1, 1, 1)
    assert reference.max_difference == 0
    assert reference.runtime_method == f"{torch.__version__}: evaluation mode, fp32"
    assert (reference.label, reference.image_size) == ("Plain", SIDE)
    assert rows["plain", "compile"].runtime_method == "7: by hand"
    assert rows["plain", "compile"].max_difference == pytest.approx(1e-4, rel=0.01)

    broken = rows["fragile", "compile"]
    assert broken.reason == "runtime compile failed: TypeError: too fragile"
    assert timed(broken) == [None] * 7


def test_int8_has_a_row_but_no_times_in_other_runtimes(make_job, monkeypatch):
    images = torch.rand(2, 1, SIDE, SIDE)

    def build_int8(classes, channels, _pretrained):
        network = nn.Sequential(nn.Conv2d(channels, classes, SIDE), nn.Flatten())
        return with_any_ranges(network.eval(), "x86", images)

    int8 = ModelSpec(label="Int8", build=build_int8, image_size=SIDE, devices=("cpu",))
    monkeypatch.setitem(SPECS, "int8", int8)
    record = run_latency_job(make_job("plain", "int8", run_in=("eager", "compile")))
    rows = rows_of(record)
    found = rows["int8", "eager"]
    kernels = "int8 kernels of torch, x86"
    assert found.runtime_method == f"{torch.__version__}: evaluation mode, {kernels}"
    assert found.ratio > 0
    assert rows["int8", "compile"].reason == f"its {kernels} are not to be had in compile"
    assert timed(rows["int8", "compile"]) == [None] * 7


def test_what_the_record_says_of_the_whole(make_job, monkeypatch):
    real = side_by_side.time_side_by_side
    notes, seeds = [], []

    def time(networks, examples, **options):
        notes.append(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None)
        seeds.append(options["seed"])
        assert options["rounds"] == 20
        assert options["seconds"] == pytest.approx(0.03)  # of each of the three that are timed
        return real(networks, examples, **options)

    monkeypatch.setattr(side_by_side, "time_side_by_side", time)
    job = make_job("plain", "fragile", run_in=("eager", "compile"), seed=7)
    record = run_latency_job(job)
    (cores,) = notes
    assert seeds == [7]
    assert record.cores == (None if cores is None else sorted(cores))
    assert cores is None or len(cores) == 1
    assert set(record.load) == {
        *("load_average_before", "load_average_after", "others_share", "stolen_share"),
    }
    assert record.busy is None or "CPU" in record.busy
    assert (record.reference, record.reference_runtime) == ("plain", "eager")
    assert (record.dataset, record.device, record.threads) == ("digits", "cpu", 1)
    assert (record.processes, record.rounds) == (1, 20)
    assert (record.seed, record.command) == (7, "again")
    assert record.drifted == (record.drift > 0.05)
    assert 0 <= record.reruns <= 2
    assert (record.data_name, len(record.data_sha256)) == ("digits", 64)
    assert record.environment["threads"] == 1
    time_models(job, 3)
    assert seeds[-1] == 10  # an order of its own in each process


def test_the_record_survives_a_trip_to_disk(make_job, tmp_path):
    record = run_latency_job(make_job("plain", "fragile", run_in=("eager", "compile")))
    write_latency_record(tmp_path, record)
    (found,) = read_latency_records(tmp_path)
    assert found.rows == record.rows
    as_json = json.loads(json.dumps(dataclasses.asdict(record)))
    assert json.loads(json.dumps(dataclasses.asdict(found))) == as_json


def test_the_reference_may_be_any_model_in_the_first_runtime(make_job):
    job = make_job("fragile", "plain", run_in=("compile", "eager"))
    record = run_latency_job(job)
    assert record.reference_runtime == "compile"
    assert rows_of(record)["plain", "compile"].ratio == 1
    with pytest.raises(CellError, match="reference fragile in compile cannot be timed: .*too frag"):
        run_latency_job(dataclasses.replace(job, reference="fragile"))


def test_a_routed_network_needs_weights(make_job):
    record = run_latency_job(make_job("plain", "routed"))
    row = rows_of(record)["routed", "eager"]
    assert row.reason == "it is routed: what it takes depends on its weights, and there are none"
    assert timed(row) == [None] * 7
    assert row.weights_origin == "random"
    assert rows_of(record)["plain", "eager"].ratio == 1
    with pytest.raises(CellError, match="reference routed in eager cannot be timed: it is routed"):
        run_latency_job(make_job("plain", "routed", reference="routed"))


def test_a_routed_network_gets_many_images_in_turn(make_job, monkeypatch):
    monkeypatch.setattr(side_by_side, "_ROUTED_IMAGES", 4)
    job = make_job("plain", "routed", run_in=("eager", "compile"))
    settings = dataclasses.replace(job.jobs[1].settings, weights="published")
    published = dataclasses.replace(job.jobs[1], settings=settings)
    record = run_latency_job(dataclasses.replace(job, jobs=(job.jobs[0], published)))
    rows = rows_of(record)
    row = rows["routed", "eager"]
    assert row.runtime_method.endswith("evaluation mode, fp32, 4 images in turn")
    assert (row.weights_origin, row.weights_sha256) == ("published", "5ba256")
    assert row.ratio > 0
    reason = "it is routed: there is no fixed graph for compile"
    assert rows["routed", "compile"].reason == reason

    seen = torch.cat(ROUTED.seen)
    assert len(seen) == 2 * 20 * (record.reruns + 1)
    assert torch.equal(seen[::2], seen[1::2])
    assert torch.equal(seen[:8], seen[8:16])
    assert len(seen[:8:2].unique(dim=0)) == 4


def test_each_process_has_images_of_its_own(make_job):
    job = make_job("plain", "routed")
    settings = dataclasses.replace(job.jobs[1].settings, weights="published")
    published = dataclasses.replace(job.jobs[1], settings=settings)
    job = dataclasses.replace(job, jobs=(job.jobs[0], published))
    firsts = []
    for number in (0, 0, 1):
        ROUTED.seen.clear()
        time_models(job, number)
        firsts.append(ROUTED.seen[0])
    assert torch.equal(firsts[0], firsts[1])
    assert not torch.equal(firsts[0], firsts[2])


def test_trained_weights_are_taken_where_they_are(make_job):
    job = make_job("plain", "fragile")
    trained = job.jobs[0]
    data = load_job_data(trained, SPECS["plain"])
    path = trained_weights_path(trained, data.source.sha256)
    sidecar = Sidecar(
        dataset="digits",
        model="plain",
        num_classes=10,
        image_size=SIDE,
        recipe_hash=recipe_hash(trained.settings),
        data_sha256=data.source.sha256,
        start="random",
        seed=42,
        threads=1,
        device="cpu",
        training_seconds=1.0,
        logs=[],
        settings={},
    )
    sidecar = save_weights(path, build_network(SPECS["plain"], trained.settings, 10, 1), sidecar)
    rows = rows_of(run_latency_job(job))
    assert rows["plain", "eager"].weights_origin == "trained"
    assert rows["plain", "eager"].weights_sha256 == sidecar.sha256
    assert rows["fragile", "eager"].weights_origin == "random"
    assert rows["fragile", "eager"].weights_sha256 is None
    rows = rows_of(run_latency_job(make_job("plain", weights="random")))
    assert rows["plain", "eager"].weights_origin == "random"


def test_images_that_are_not_timed_are_not_kept(make_job, monkeypatch):
    real, kept = side_by_side.time_side_by_side, {}

    def time(networks, examples, **options):
        kept.update({name: len(i.untyped_storage()) for name, i in examples.items()})
        return real(networks, examples, **options)

    monkeypatch.setattr(side_by_side, "time_side_by_side", time)
    run_latency_job(make_job("plain"))
    assert kept == {"plain in eager": 4 * SIDE**2}


def test_weights_that_cannot_be_had_are_a_wrong_request(make_job):
    with pytest.raises(RequestError, match="Plain has no pre-trained weights"):
        run_latency_job(make_job("plain", weights="imagenet"))


def test_more_threads_than_cores_are_not_pinned(make_job):
    job = make_job("plain")
    threads = default_threads() + 1
    settings = dataclasses.replace(job.jobs[0].settings, threads=threads)
    job = dataclasses.replace(job, jobs=(dataclasses.replace(job.jobs[0], settings=settings),))
    before = torch.get_num_threads()
    try:
        record = run_latency_job(job)
    finally:
        torch.set_num_threads(before)
    assert (record.threads, record.cores) == (threads, None)


def test_jobs_of_both_kinds_survive_the_trip_to_the_child(make_job, tmp_path):
    job = make_job("plain", "routed", run_in=("eager", "openvino"))
    timing = TimingJob(comparison=job, number=2, answer=tmp_path / "a")
    either = TypeAdapter(Job | TimingJob)
    for sent in (timing, job.jobs[0]):
        assert either.validate_json(TypeAdapter(type(sent)).dump_json(sent)) == sent


@pytest.fixture
def in_this_process(monkeypatch):
    """Let this process be all children; return what each of them saw."""
    seen = []

    def run(job, *, verbose):
        seen.append((job.number, lock_path("cpu").with_suffix(".holder").read_text()))
        return worker._time(job)

    monkeypatch.setattr(local, "run_in_child", run)
    return seen


def test_processes_come_one_after_the_other_under_one_lock(make_job, in_this_process):
    job = make_job("plain", "fragile", processes=3)
    assert compare_in_children(job) == 0
    holder = f"digits/latency-cpu (process {os.getpid()})"
    assert in_this_process == [(0, holder), (1, holder), (2, holder)]
    assert lock_path("cpu").with_suffix(".holder").read_text() == ""
    (record,) = read_latency_records(job.jobs[0].results_dir)
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
    assert compare_in_children(job) == code
    assert len(in_this_process) == ran
    found = read_latency_records(job.jobs[0].results_dir)
    assert [len(record.rows) for record in found] == [len(models)] * written
    error = capsys.readouterr().err
    assert error.count("\n") == 1 - written
    assert written or error.startswith("digits/latency-cpu: the reference routed in eager cannot")


@pytest.mark.parametrize("code", [1, 2, 130])
def test_a_process_that_ends_badly_ends_the_comparison(make_job, monkeypatch, code):
    codes = [0, code]

    def run(job, *, verbose):
        return worker._time(job) or codes.pop(0)

    monkeypatch.setattr(local, "run_in_child", run)
    job = make_job("plain", processes=3)
    assert compare_in_children(job) == code
    assert read_latency_records(job.jobs[0].results_dir) == []
    assert lock_path("cpu").with_suffix(".holder").read_text() == ""


def test_an_interruption_lets_go_of_the_device(make_job, monkeypatch):
    def run(job, *, verbose):
        raise KeyboardInterrupt

    monkeypatch.setattr(local, "run_in_child", run)
    job = make_job("plain")
    with pytest.raises(KeyboardInterrupt):
        compare_in_children(job)
    assert lock_path("cpu").with_suffix(".holder").read_text() == ""
    assert not list(job.jobs[0].results_dir.rglob("*"))


def test_a_comparison_that_cannot_be_written_is_one_line(make_job, capsys, in_this_process):
    job = make_job("plain")
    job.jobs[0].results_dir.write_text("a file, no folder")
    assert compare_in_children(job) == 1
    error = capsys.readouterr().err
    assert error.startswith("digits/latency-cpu: cannot write ")
    assert error.count("\n") == 1


def test_an_error_that_nobody_foresaw_is_one_line_too(make_job, capsys, monkeypatch, tmp_path):
    def fail(_job, _number):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")

    monkeypatch.setattr(side_by_side, "time_models", fail)
    job = TimingJob(comparison=make_job("plain"), number=0, answer=tmp_path / "a")
    assert worker._time(job) == 1
    assert capsys.readouterr().err == (
        "digits/latency-cpu: OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n"
    )


def test_a_killed_child_is_one_line_and_no_record(make_job, capsys, monkeypatch, tmp_path):
    class Killed:
        def __init__(self, _command, stdin, env):
            self.stdin = (tmp_path / "job.json").open("wb")

        def wait(self):
            return -signal.SIGKILL

    monkeypatch.setattr(local.subprocess, "Popen", Killed)
    job = make_job("plain", processes=3)
    assert compare_in_children(job) == 1
    error = capsys.readouterr().err
    assert error == "digits/latency-cpu: the process was ended by SIGKILL (out of memory?)\n"
    results = job.jobs[0].results_dir
    assert (read_records(results), read_latency_records(results)) == ([], [])
    sent = TypeAdapter(TimingJob).validate_json((tmp_path / "job.json").read_bytes())
    assert (sent.comparison, sent.number) == (job, 0)
    assert lock_path("cpu").with_suffix(".holder").read_text() == ""
