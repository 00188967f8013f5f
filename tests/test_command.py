"""The commands as a user runs them, in a copy of the project."""

import json
import re
import shutil
import time

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from harness.records.cell import CELLS
from harness.records.predictions import Predictions
from tests.commands import BRIEF, Running, copy_project, run


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with one more model, made by `cli/new_model.py`."""
    copy = tmp_path_factory.mktemp("project")
    copy_project(copy)
    done = run(copy, "cli/new_model.py", "my_net")
    assert done.returncode == 0, done.stderr
    return copy


def read_curve(run_folder, name):
    reader = EventAccumulator(str(run_folder))
    reader.Reload()
    return [(event.step, event.value) for event in reader.Scalars(name)]


CELL = ("--dataset", "digits", "--model", "my_net", "--threads", "1", "--offline")
SEEDS = (*CELL, *BRIEF, "--epochs", "1", "--results-dir", "several", "--weights-dir", "w3")


def read_record(project):
    return CELLS.read(project / "results/own/records/digits/my_net-cpu.json").flat


def test_a_new_folder_is_listed_trained_measured_and_tabulated(project):
    assert "my_net" in run(project, "comparisons.py", "--list").stdout
    planned = run(project, "comparisons.py", *CELL, *BRIEF, "--epochs", "2", "--plan")
    assert "train 2 epochs" in " ".join(planned.stdout.split())
    assert not (project / "results/own/records").exists()

    done = run(project, "comparisons.py", *CELL, *BRIEF, "--epochs", "2")
    assert done.returncode == 0, done.stderr
    assert "My Net" in done.stdout
    epochs = [line for line in done.stderr.splitlines() if ": epoch " in line]
    number = r"[\d.]+"
    what = f"loss {number}, training accuracy {number}%, {number} images/s, {number} s"
    assert re.fullmatch(f"digits/my_net-cpu: epoch 1/2: {what}, about {number} s left", epochs[0])
    assert re.fullmatch(f"digits/my_net-cpu: epoch 2/2: {what}", epochs[1])
    assert not set(done.stdout + planned.stdout) & set("━│┃")
    record = read_record(project)
    assert record["status"] == "ok"
    assert record["n_test"] == 360
    assert record["accuracy_top1"] > 30
    assert record["weights_origin"] == "trained"
    assert record["epochs"] == len(record["history"]) == 2
    assert record["data_official"] is True
    measured = ("latency_ms_p50", "throughput_images_per_s", "peak_memory_mb", "gmacs_thop")
    assert all(record[name] > 0 for name in measured)
    # Convolutions 3x3 with stride 2 from 32 pixels on, then the linear layer.
    macs = 9 * (16**2 * 32 + 8**2 * 32 * 64 + 4**2 * 64 * 128) + 128 * 10
    assert record["gmacs"] == pytest.approx(macs / 1e9)
    assert "| My Net |" in (project / "results/own/digits.md").read_text()
    assert (project / "results/own/figures/digits/my_net-cpu-confusion.png").exists()
    (run_folder,) = (project / "runs/digits-my_net").iterdir()
    assert [step for step, _ in read_curve(run_folder, "train/loss")] == [1, 2]
    (accuracy,) = read_curve(run_folder, "test/accuracy_top1")
    assert accuracy == (2, pytest.approx(record["accuracy_top1"]))

    again = run(project, "comparisons.py", *CELL, *BRIEF, "--epochs", "2")
    assert "an equal record exists" in again.stderr
    assert read_record(project) == record
    assert len(list((project / "runs/digits-my_net").iterdir())) == 1


def test_a_killed_run_goes_on_and_ends_with_the_same_weights(project):
    arguments = (*CELL, *BRIEF, "--epochs", "6", "--seed", "3")
    whole = run(project, "comparisons.py", *arguments, "--weights-dir", "w1", "--tracker", "none")
    assert whole.returncode == 0, whole.stderr
    expected = read_record(project)["weights_sha256"]

    arguments = (*arguments, "--weights-dir", "w2", "--runs-dir", "r2")
    running = Running(project, "comparisons.py", *arguments)
    wait_for_checkpoint(running, project / "w2" / "digits")
    running.kill()
    assert not list((project / "w2").rglob("*.safetensors"))

    planned = run(project, "comparisons.py", *arguments, "--plan")
    assert "continue" in planned.stdout
    resumed = run(project, "comparisons.py", *arguments)
    assert resumed.returncode == 0, resumed.stderr
    assert "continue" in resumed.stderr
    assert read_record(project)["weights_sha256"] == expected
    assert not list((project / "w2").rglob("*.checkpoint*"))
    (run_folder,) = (project / "r2/digits-my_net").iterdir()
    losses = [entry["loss"] for entry in read_record(project)["history"]]
    assert read_curve(run_folder, "train/loss") == [
        (step, pytest.approx(loss)) for step, loss in enumerate(losses, start=1)
    ]


def wait_for_checkpoint(running, folder):
    while not list(folder.glob("*.checkpoint")):
        assert not running.ended, "it ended without a checkpoint"
        time.sleep(0.02)


def test_a_rate_that_breaks_the_first_steps_is_refused_before_training(project):
    arguments = (*CELL, "--set", "training.learning_rate=1e30", "--set", "training.optimizer=sgd")
    done = run(project, "comparisons.py", *arguments)
    assert done.returncode == 2
    (error,) = [line for line in done.stderr.splitlines() if "not finite" in line]
    assert "after 1 training step(s): lower training.learning_rate" in error


def test_a_cell_that_breaks_is_recorded_and_exits_1(project):
    # Finite for two steps, and no longer after some more.
    arguments = (*CELL, "--set", "training.learning_rate=1e4", "--set", "training.optimizer=sgd")
    done = run(project, "comparisons.py", *arguments)
    assert done.returncode == 1, done.stderr
    record = read_record(project)
    assert record["status"] == "failed"
    assert "training loss is nan" in record["reason"]
    assert record["accuracy_top1"] is None
    assert "failed: training loss is nan" in " ".join(done.stdout.split())


@pytest.fixture(scope="module")
def seeds(project):
    """Cells of two seeds, with results and weights in folders of their own."""
    done = run(project, "comparisons.py", *SEEDS, "--seeds", "42,1")
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("seeds")
def test_weights_that_were_changed_are_refused(project):
    shutil.copytree(project / "w3", project / "w4")
    for weights in (project / "w4").rglob("*.safetensors"):
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
    done = run(project, "comparisons.py", *SEEDS, "--weights-dir", "w4", "--force")
    assert done.returncode == 2
    assert "SHA-256 is not the one" in done.stderr
    assert "My Net" not in done.stdout
    assert "Traceback" not in done.stderr


def test_random_weights_are_measured_without_training(project):
    done = run(project, "comparisons.py", *CELL, *BRIEF, "--weights", "random")
    assert done.returncode == 0, done.stderr
    record = read_record(project)
    assert (record["weights_origin"], record["epochs"]) == ("random", None)


@pytest.mark.usefixtures("seeds")
def test_each_seed_has_a_record_and_the_table_their_mean(project):
    folder = project / "several/records/digits"
    records = {path.stem: CELLS.read(path).flat for path in folder.glob("*.json")}
    assert set(records) == {"my_net-cpu", "my_net-cpu-seed1"}
    first, second = records["my_net-cpu"], records["my_net-cpu-seed1"]
    assert (first["seed"], first["repeat"], second["seed"], second["repeat"]) == (
        42,
        False,
        1,
        True,
    )
    assert first["weights_sha256"] != second["weights_sha256"]
    mean = (first["accuracy_top1"] + second["accuracy_top1"]) / 2
    page = (project / "several/digits.md").read_text()
    assert page.count("| My Net |") == 1
    assert f"| My Net | {mean:.2f} ± " in page
    assert "(n=2)" in page
    again = run(project, "comparisons.py", *SEEDS, "--seeds", "42,1")
    assert again.stderr.count("an equal record exists") == 2

    # What each run took the test images for is kept, and adds up to its accuracy.
    for name, record in records.items():
        kept = json.loads((project / f"several/predictions/digits/{name}.json").read_text())
        right = Predictions(**kept).right_bits.bit_count()
        assert 100 * right / 360 == pytest.approx(record["accuracy_top1"])
        assert Predictions(**kept).sha256 == record["predictions_sha256"]
        assert kept["labels_sha256"] == record["test_labels_sha256"]


@pytest.mark.parametrize("name", ["resnet", "My-Net", "all", "3d"])
def test_a_name_that_cannot_be_a_new_model(project, name):
    done = run(project, "cli/new_model.py", name)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
