"""`--seeds`: one job a seed, each with a record of its own beside the cell's."""

from datetime import UTC, datetime

import pytest

from harness import commands
from harness.errors import RequestError
from harness.jobs import Cell
from harness.plan.cells import find_job_record
from harness.plan.jobs import make_job, name_seeds
from harness.plan.latency import plan_latency
from harness.records.cell import CELLS
from harness.records.latency import LATENCIES
from harness.run.latency import time_models
from harness.run.latency_pool import pool_processes
from harness.settings import recipe_hash
from tests.records import cell_record
from tests.refusals import make_request, refuse

CELL = Cell(dataset="digits", model="resnet", device="cpu")


@pytest.mark.parametrize(
    ("text", "seeds"), [(None, [None]), ("1,2,3", [1, 2, 3]), (" 7 , 7,0,", [7, 0]), ("42", [42])]
)
def test_a_list_of_seeds(text, seeds):
    assert name_seeds(text) == seeds


@pytest.mark.parametrize("text", ["1,x", "-1", "1.5", "1;2", "²"])
def test_what_is_no_seed_is_named(text):
    with pytest.raises(RequestError, match="whole numbers wanted, found '"):
        name_seeds(text)
    with pytest.raises(RequestError, match="name one or more"):
        name_seeds(" , ")


def test_the_seed_of_the_settings_keeps_the_cells_place(tmp_path):
    own, _ = make_job(make_request(tmp_path), CELL)
    same, _ = make_job(make_request(tmp_path), CELL, 42)
    other, _ = make_job(make_request(tmp_path), CELL, 1)
    assert same == own
    assert (own.repeat, other.repeat, other.settings.seed) == (False, True, 1)
    assert other.command == f"{own.command} --seeds 1"
    assert str(other) == "digits/resnet-cpu, seed 1"
    # Each seed has weights of its own.
    assert recipe_hash(own.settings) != recipe_hash(other.settings)


def test_each_seed_has_a_record_of_its_own(tmp_path):
    jobs = [make_job(make_request(tmp_path), CELL, seed)[0] for seed in (42, 1, 2)]
    for job in jobs[:2]:
        record = cell_record(
            dataset="digits",
            model="resnet",
            label="R",
            device="cpu",
            status="ok",
            seed=job.settings.seed,
            repeat=job.repeat,
            settings={"seed": job.settings.seed},
        )
        CELLS.write(tmp_path / "results", record)
    assert [record and record.settings.seed for record in map(find_job_record, jobs)] == [
        42,
        1,
        None,
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": "1,x"}, "--seeds 1,x: whole numbers wanted, found 'x'"),
        ({"seeds": "1", "overrides": {"seed": "7"}}, "--seed and --seeds do not go together"),
        ({"seeds": "1", "assignments": ["seed=7"]}, "--seed and --seeds do not go together"),
        (
            {"seeds": "1", "datasets": ["emnist"], "overrides": {"weights": "published"}},
            "--seeds: published weights are the same for every seed",
        ),
    ],
)
def test_seeds_that_make_no_sense_are_one_line(capsys, tmp_path, changes, words):
    refuse(capsys, tmp_path, make_request(tmp_path, **changes), words)
    assert list(tmp_path.iterdir()) == []


def test_a_plan_has_a_line_for_each_seed(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "160")
    request = make_request(tmp_path, seeds="42,1", models=["mobilenet"])
    assert commands.carry_out(request, plan=True) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "train 12 epochs" in line]
    assert ["seed" in row for row in rows] == [False, True]


def test_latencies_with_random_weights_need_no_images(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    request = make_request(
        tmp_path,
        datasets=["svhn"],
        models=["mobilenet"],
        measure="latency",
        overrides={"weights": "random", "threads": "1"},
        assignments=[
            "image_size=32",
            "measurement.latency_rounds=20",
            "measurement.latency_seconds=0.01",
        ],
    )
    (job,) = plan_latency(request)
    record = pool_processes(job, [time_models(job, 0)], datetime.now(UTC))
    assert (record.data_name, len(record.data_sha256)) == ("random pixels", 64)
    assert record.rows[0].latency_ms_p50 > 0
    # Weights that were trained on images are looked for by these.
    with pytest.raises(RequestError, match="svhn: no usable images"):
        plan_latency(make_request(tmp_path, datasets=["svhn"], measure="latency"))
    assert LATENCIES.read_all(tmp_path / "results") == []
