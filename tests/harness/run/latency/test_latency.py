"""What a comparison of latencies says of each model in each runtime."""

import dataclasses
import json
import os

import pytest
import torch
from torch import nn

from harness.compression.quantization import with_any_ranges
from harness.data.loading import load_job_data
from harness.errors import CellError, RequestError
from harness.measure.conditions import default_threads
from harness.networks.adapter import RoutedAdapter
from harness.networks.build import build_network
from harness.networks.weights import Sidecar, save_weights
from harness.networks.weights_files import trained_weights_path
from harness.records.latency import LATENCIES
from harness.run import latency
from harness.run.latency import time_models
from harness.settings import recipe_hash
from harness.spec import ModelSpec

from .conftest import ROUTED, SIDE, SPECS, rows_of, run_latency_job

FIGURES = (
    *("latency_ms_p05", "latency_ms_p50", "latency_ms_p95", "latency_ms_p99"),
    *("ratio", "ratio_low", "ratio_high"),
)


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
    real = latency.time_side_by_side
    notes, seeds = [], []

    def time(networks, examples, **options):
        notes.append(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None)
        seeds.append(options["seed"])
        assert options["rounds"] == 20
        assert options["seconds"] == pytest.approx(0.03)  # of each of the three that are timed
        return real(networks, examples, **options)

    monkeypatch.setattr(latency, "time_side_by_side", time)
    job = make_job("plain", "fragile", run_in=("eager", "compile"), seed=7)
    record = run_latency_job(job)
    (cores,) = notes
    assert seeds == [7]
    assert record.machine.cores == (None if cores is None else sorted(cores))
    assert cores is None or len(cores) == 1
    assert set(vars(record.machine.load)) == {
        *("load_average_before", "load_average_after", "others_share", "stolen_share"),
    }
    assert record.machine.busy is None or "CPU" in record.machine.busy
    assert (record.reference, record.reference_runtime) == ("plain", "eager")
    assert (record.dataset, record.device, record.machine.threads) == ("digits", "cpu", 1)
    assert (record.processes, record.rounds) == (1, 20)
    assert (record.seed, record.provenance.command) == (7, "again")
    assert record.drifted == (record.drift > 0.05)
    assert 0 <= record.reruns <= 2
    assert (record.data_name, len(record.data_sha256)) == ("digits", 64)
    assert record.provenance.environment["threads"] == 1
    time_models(job, 3)
    assert seeds[-1] == 10  # an order of its own in each process


def test_the_record_survives_a_trip_to_disk(make_job, tmp_path):
    record = run_latency_job(make_job("plain", "fragile", run_in=("eager", "compile")))
    LATENCIES.write(tmp_path, record)
    (found,) = LATENCIES.read_all(tmp_path)
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
    monkeypatch.setattr(RoutedAdapter, "timed_images", 4)
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
    real, kept = latency.time_side_by_side, {}

    def time(networks, examples, **options):
        kept.update({name: len(i.untyped_storage()) for name, i in examples.items()})
        return real(networks, examples, **options)

    monkeypatch.setattr(latency, "time_side_by_side", time)
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
    assert (record.machine.threads, record.machine.cores) == (threads, None)
