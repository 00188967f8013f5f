"""The transfer table of docs/training.md: what its records say, and the settings they name."""

import shutil
import subprocess
from pathlib import Path

from harness.records.cell import CELLS
from studies.common import assign, run_cell
from studies.transfer import MODEL, ROWS, main

ROOT = Path(__file__).resolve().parents[2]
RECORDS = ROOT / "results" / "transfer"


def test_the_guide_has_the_table_of_the_records(capsys):
    here = Path("trained before")
    main(out=RECORDS, cifar10=here, emnist=here)
    assert capsys.readouterr().out in (ROOT / "docs" / "training.md").read_text(encoding="utf-8")


def test_the_records_are_those_of_the_rows_settings():
    for name, (dataset, _, settings) in ROWS.items():
        record = CELLS.read(RECORDS / name / "records" / dataset / f"{MODEL}-cpu.json")
        training = record.settings.settings["training"]
        assert {f"training.{key}" for key in training} >= {*settings}
        assert all(training[key.removeprefix("training.")] == settings[key] for key in settings)
        assert (training["epochs"], training["micro_batch_size"]) == (1, 8)
        assert record.weights.start == settings.get("training.start", "imagenet")


def test_a_row_is_trained_once(monkeypatch, tmp_path):
    commands = []

    def run(command, **_):
        commands.append(command)
        shutil.copytree(RECORDS / "cifar10-head", tmp_path, dirs_exist_ok=True)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    options = assign({"training.freeze_backbone": True})
    for _ in range(2):
        record = run_cell("cifar10", MODEL, Path("images"), options, Path("weights"), tmp_path)
    (command,) = commands
    assert command[2:8] == ["--dataset", "cifar10", "--model", MODEL, "--device", "cpu"]
    assert command[-2:] == ["--set", "training.freeze_backbone=true"]
    assert record.operations.params_trainable == 12_810
