"""Trees of several volatilities, grown on real digits as a user would."""

import csv

import numpy as np
import pytest
from sklearn.datasets import load_digits
from typer.testing import CliRunner

from cli import trunk_tree
from cli.tree_ablation import parse_values
from harness.training.stages import Stages


def invoke(*arguments):
    return CliRunner().invoke(trunk_tree.app, [str(argument) for argument in arguments])


@pytest.fixture
def small_data(tmp_path):
    """Digits at 8×8, forty to train of each of five classes, and the options of a quick recipe."""
    digits = load_digits()
    chosen = np.concatenate([np.flatnonzero(digits.target == k)[:50] for k in range(5)])
    images = (digits.images[chosen] * 15).astype(np.uint8)
    labels = digits.target[chosen].astype(np.uint8)
    test = np.arange(len(chosen)) % 5 == 0
    np.savez(
        tmp_path / "few.npz",
        train_images=images[~test],
        train_labels=labels[~test],
        test_images=images[test],
        test_labels=labels[test],
        classes=np.array([f"digit {k}" for k in range(5)]),
    )
    stage = {"epochs": 1, "batch_size": 20, "precision": "fp32"}
    stages = ("training", "tree.grouping", "tree.class_below")
    assignments = [f"{name}.{key}={value}" for name in stages for key, value in stage.items()]
    return [
        *("--data-file", tmp_path / "few.npz", "--weights-dir", tmp_path / "w", "--threads", "1"),
        *(word for text in (*assignments, "image_size=8") for word in ("--set", text)),
    ]


def test_trees_of_several_volatilities_are_compared_and_not_grown_again(
    small_data, tmp_path, monkeypatch
):
    stages = []
    train = Stages.train

    def note(self, name, *args, **kwargs):
        if not (self.folder / f"{name}.safetensors").exists():
            stages.append(name)
        return train(self, name, *args, **kwargs)

    monkeypatch.setattr(Stages, "train", note)
    command = ("ablate", "--volatility", "0.1:3.1:3", *small_data, "--output", tmp_path / "out")
    done = invoke(*command)
    assert done.exit_code == 0, done.output
    assert stages.count("root.classes") == 1
    assert "joint" not in stages
    with (tmp_path / "out" / "few-ablation.csv").open() as file:
        found = list(csv.DictReader(file))
    assert [row["volatility"] for row in found] == ["0.1", "3.1"]
    assert {(row["images"], row["n_images"]) for row in found} == {("held-out", "20")}
    for row in found:
        gmacs = [float(row[f"gmacs_{name}"]) for name in ("shortest", "mean", "longest")]
        assert gmacs == sorted(gmacs)
        assert gmacs[0] > 0
    # v/n = 0.62: hardly any pair is confused that often, so every class is a leaf.
    assert (found[1]["nodes"], found[1]["root_groups"]) == ("1", "5")
    assert (tmp_path / "out" / "few-ablation.png").stat().st_size > 1000
    stages.clear()
    first = (tmp_path / "out" / "few-ablation.csv").read_text()
    assert invoke(*command).exit_code == 0
    assert stages == []
    assert (tmp_path / "out" / "few-ablation.csv").read_text() == first


@pytest.mark.parametrize("text", ["1", "0:1:0.1", "1:0.5:0.1", "0.5:1:0", "a:b:c", "0.1:1:1e-9"])
def test_a_wrong_range_is_one_line(text, small_data, tmp_path):
    message = f"--volatility '{text}': first:last:step wanted"
    done = invoke("ablate", "--volatility", text, *small_data, "--output", tmp_path / "out")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_range_has_both_its_ends():
    assert parse_values("0.7:1.3:0.1") == [0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3]
    assert parse_values("1:1:0.5") == [1.0]
