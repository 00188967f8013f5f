"""Compressed models as a user adds and runs them, in a copy of the project."""

import time

import pytest

from harness.records.cell import CELLS
from tests.commands import BRIEF, Running, copy_project, run

MODEL = '''"""My net, {what}."""

from harness.spec import CompressedSpec

SPEC = CompressedSpec(label="My net, {what}", base="my_net", compression="{compression}")
'''
RECIPE = """digits:
  {section}:
    training: {{epochs: 2, batch_size: 32, learning_rate: 1.0e-3}}
"""
CELL = ("--dataset", "digits", "--threads", "1", "--offline", "--epochs", "2", "--seed", "3")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with a small network, and two folders of eight lines that shrink it."""
    copy = tmp_path_factory.mktemp("project")
    copy_project(copy)
    done = run(copy, "cli/new_model.py", "my_net")
    assert done.returncode == 0, done.stderr
    for name, compression in (("my_int8", "quantization"), ("my_half", "pruning")):
        folder = copy / "monolithic_architectures" / name
        folder.mkdir()
        (folder / "model.py").write_text(MODEL.format(what=name, compression=compression))
        (copy / "configs" / f"{name}.yaml").write_text(RECIPE.format(section=compression))
    # Fewer steps are quicker; such a small network needs no more.
    with (copy / "configs" / "my_half.yaml").open("a") as file:
        file.write("    steps: 64\n")
    return copy


def compare(project, models, *arguments):
    return run(project, "comparisons.py", *CELL, *BRIEF, "--model", models, *arguments)


def read_record(project, model):
    return CELLS.read(project / f"results/own/records/digits/{model}-cpu.json").flat


def test_two_folders_are_two_compressed_models(project):
    done = compare(project, "my_int8,my_half")
    assert done.returncode == 0, done.stderr
    # The base was trained for the first of them, and the other found it.
    assert "my_int8-cpu: train: my_net first: train 2 epochs; then train in stages" in done.stderr
    assert len(list((project / "weights" / "digits").glob("*.safetensors"))) == 3
    assert "warn" not in done.stderr.lower()
    int8, half = read_record(project, "my_int8"), read_record(project, "my_half")
    for record in (int8, half):
        found = record["compression"]
        assert record["status"] == "ok"
        assert record["start"] == found["base"] == "my_net"
        assert found["accuracy_base"] > 30
        # Convolutions 3x3 with stride 2 from 32 pixels on, then the linear layer.
        macs = 9 * (16**2 * 32 + 8**2 * 32 * 64 + 4**2 * 64 * 128) + 128 * 10
        assert found["gmacs_base"] == pytest.approx(macs / 1e9)
        assert 0 < found["latency_ratio_to_base_low"] <= found["latency_ratio_to_base"]
        assert record["epochs"] == 2
    check_int8(int8)
    check_half(half)
    same = ("base_weights_sha256", "accuracy_base", "weights_mb_base", "params_base")
    assert all(int8["compression"][name] == half["compression"][name] for name in same)
    table = (project / "results/own/digits.md").read_text()
    assert "| My net, my_int8 |" in table
    assert "2 epochs at 32 px from my_net weights" in table
    assert "latency at batch 1 in int8, accuracy in int8" in table


def check_int8(record):
    found = record["compression"]
    assert record["precision"] == "int8"
    assert record["accuracy_method"].startswith("int8 kernels of torch, x86")
    assert record["gmacs"] == found["gmacs_base"]
    assert 0.25 < found["weights_ratio_to_base"] < 0.3
    # The largest is the first convolution's output, a byte a value, beside its input.
    assert 0 < record["peak_memory_mb"] < 3 * 32 * 16**2 / 1e6
    assert 0 <= found["accuracy_fake_quantized"] <= 100
    for name in ("peak_training_memory_mb", "throughput_peak_share", "peak_process_mb"):
        assert record[name] is None
        assert record["not_measured"][name]


def check_half(record):
    found = record["compression"]
    assert record["precision"] == "fp32"
    assert 0.485 <= record["gmacs"] / found["gmacs_base"] <= 0.5
    assert found["speed_up"] == pytest.approx(found["gmacs_base"] / record["gmacs"])
    assert record["params"] < found["params_base"]
    assert 0 <= found["accuracy_pruned"] <= 100


@pytest.mark.slow
def test_the_cell_of_the_base_finds_what_was_trained_for_others(project):
    done = compare(project, "my_net")
    assert done.returncode == 0, done.stderr
    assert "measure: weights trained for 2 epochs are there" in done.stderr
    base, found = read_record(project, "my_net"), read_record(project, "my_int8")["compression"]
    assert base["weights_sha256"] == found["base_weights_sha256"]
    assert base["accuracy_top1"] == found["accuracy_base"]
    assert (base["params"], base["weights_mb"]) == (found["params_base"], found["weights_mb_base"])


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_with_the_same_weights(project):
    expected = {
        name: read_record(project, name)["weights_sha256"] for name in ("my_int8", "my_half")
    }
    for name, stage in (("my_int8", "quantization"), ("my_half", "fine_tuning")):
        folder = f"killed_{name}"
        arguments = (*CELL, *BRIEF, "--model", name, "--weights-dir", folder)
        running = Running(project, "comparisons.py", *arguments)
        wait_for(running, project / folder / "digits", f"*.stages/{stage}.checkpoint")
        running.kill()
        resumed = compare(project, name, "--weights-dir", folder, "--force")
        assert resumed.returncode == 0, resumed.stderr
        assert f"done, on with {stage}" in resumed.stderr
        assert read_record(project, name)["weights_sha256"] == expected[name]
        assert not list((project / folder).rglob("*.stages"))


def wait_for(running, folder, pattern):
    while not list(folder.glob(pattern)):
        assert not running.ended, f"it ended without {pattern}"
        time.sleep(0.02)
