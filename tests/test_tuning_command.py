"""`--tune` as a whole command: killed, continued, its winner used; test images choose nothing."""

import json
import shutil
import time

import numpy as np
import psutil
import pytest

from harness.jobs import Cell
from harness.plan import cells
from harness.plan.jobs import make_job
from harness.records.cell import CELLS
from harness.records.tuning import TUNINGS, tuning_place
from tests.commands import BRIEF, ROOT, Running, copy_project, run
from tests.harness.report.test_tuning import make_tuning
from tests.refusals import make_request, refuse

NETWORK = '''"""A small convolutional network."""

from torch import nn

from harness.spec import ModelSpec


def build(num_classes, in_channels, pretrained):
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(0.1), nn.Linear(128, num_classes),
    )


SPEC = ModelSpec(label="Small", build=build, image_size=16)
'''
TUNE = ("comparisons.py", "--model", "small", "--threads", "1", "--tune", "6", "--offline")
BUDGET = ("--tune-budget", "200x3")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    copy = tmp_path_factory.mktemp("project")
    copy_project(copy)
    shutil.copytree(ROOT / "trunk", copy / "trunk", ignore=shutil.ignore_patterns("__pycache__"))
    folder = copy / "monolithic_architectures" / "small"
    folder.mkdir()
    (folder / "model.py").write_text(NETWORK)
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    images = (rng.integers(0, 120, (300, 16, 16)) + 40 * labels[:, None, None]).astype(np.uint8)
    arrays = {
        "train_images": images,
        "train_labels": labels,
        "test_images": images[:60],
        "classes": np.array(["dark", "grey", "light"]),
    }
    np.savez(copy / "shades.npz", test_labels=labels[:60], **arrays)
    np.savez(copy / "swapped.npz", test_labels=2 - labels[:60], **arrays)
    return copy


def read(project, data="shades", model="small"):
    place = tuning_place(Cell(dataset=data, model=model, device="cpu"))
    return TUNINGS.read(project / "results/own" / place)


def test_a_killed_search_goes_on_and_its_winner_is_used(project):
    running = Running(project, *TUNE, *BUDGET, "--data-file", "shades.npz")
    studies = project / "weights/shades/tuning"
    while not running.ended and len(list(studies.glob("*-2.checkpoint"))) < 1:
        time.sleep(0.01)
    running.kill()
    done = run(project, *TUNE, *BUDGET, "--data-file", "shades.npz")
    assert done.returncode == 0, done.stderr
    assert not list(studies.glob("*.checkpoint"))
    record = read(project)
    assert [trial.number for trial in record.trials] == list(range(6))
    assert (record.held_out, record.budget.images, record.budget.epochs) == (30, 200, 3)
    assert record.images_seen == 200 * sum(trial.epochs for trial in record.trials)
    again = run(project, *TUNE, *BUDGET, "--data-file", "shades.npz")
    assert "done: an equal search exists" in again.stderr

    train = ("comparisons.py", "--model", "small", "--threads", "1", "--epochs", "2", "--offline")
    done = run(project, *train, *BRIEF, "--data-file", "shades.npz", "--recipe", "tuned")
    assert done.returncode == 0, done.stderr
    cell = CELLS.read(project / "results/own/records/shades/small-cpu.json")
    recipe = cell.settings.settings["training"]
    for name, value in record.recipe.items():
        assert recipe[name.removeprefix("training.")] == json.loads(json.dumps(value))
    assert recipe["epochs"] == 2
    assert cell.settings.settings["tuning"]["trials"] == 6


def test_workers_share_a_search_and_one_that_is_killed_loses_no_trial(project):
    options = (*BUDGET, "--data-file", "shades.npz", "--seed", "8", "--tune-workers", "2")
    options += ("--set", "checkpoint_minutes=0", "--device", "cpu")
    running = Running(project, *TUNE, *options)
    studies = project / "weights/shades/tuning"
    while not running.ended and len(list(studies.glob("*-[0-9].checkpoint"))) < 2:
        time.sleep(0.01)
    workers = psutil.Process(running.pid).children(recursive=True)
    workers[-1].kill()
    done = running.wait()
    # The search is whole, and the command says that one of its workers was killed.
    assert done.returncode == 1, done.stderr
    logs = [path.read_text() for path in (project / "results/own").rglob("*worker*.log")]
    assert "the process was ended by SIGKILL" in done.stderr + "".join(logs), (done.stderr, logs)
    record = read(project)
    assert [trial.number for trial in record.trials] == list(range(6))
    assert (record.seed, record.workers) == (8, 2)
    assert record.images_seen == 200 * sum(trial.epochs for trial in record.trials)
    assert all(trial.epochs == 3 for trial in record.trials if trial.state == "complete")
    assert not list(studies.glob("*-[0-9].checkpoint*"))
    planned = run(project, *TUNE, *options, "--plan").stdout.splitlines()
    assert planned == [f"shades/small-cpu, worker {number}: done" for number in (1, 2)]


def test_all_stages_of_trunk_follow_what_is_found_for_its_root(project):
    options = ("--model", "trunk", "--data-file", "shades.npz", "--set", "image_size=16")
    options += ("--threads", "1", "--offline")
    tuned = ("comparisons.py", *options, "--tune", "2", "--tune-budget", "200x1")
    done = run(project, *tuned)
    assert done.returncode == 0, done.stderr
    record = read(project, model="trunk")
    assert [trial.state for trial in record.trials] == ["complete"] * 2
    # 24 filters of 3×3 at 8×8 places are the root's first layer alone.
    assert record.gmacs > 64 * 24 * 9 / 1e9
    stages = [f"{name}.epochs=1" for name in ("tree.grouping", "tree.class_below", "tree.joint")]
    options += tuple(word for stage in stages for word in ("--set", stage))
    options += ("--set", "tree.joint.label_smoothing=0.3", "--epochs", "1", *BRIEF)
    done = run(project, "comparisons.py", *options, "--recipe", "tuned")
    assert done.returncode == 0, done.stderr
    cell = CELLS.read(project / "results/own/records/shades/trunk-cpu.json")
    settings = cell.settings.settings
    found = {name.removeprefix("training."): value for name, value in record.recipe.items()}
    found = json.loads(json.dumps(found))
    tree = settings["tree"]
    joint = tree["joint"] | {"label_smoothing": found["label_smoothing"]}
    assert tree["joint"]["label_smoothing"] == 0.3
    for stage in (settings["training"], tree["grouping"], tree["class_below"], joint):
        assert stage["epochs"] == 1
        assert {name: stage[name] for name in found} == found
    assert settings["tuning"]["trials"] == 2


def test_test_images_choose_nothing(project):
    for name in ("shades", "swapped"):
        done = run(project, *TUNE, *BUDGET, "--data-file", f"{name}.npz")
        assert done.returncode == 0, done.stderr
    first, second = read(project), read(project, "swapped")
    assert first.data_sha256 != second.data_sha256
    assert [t.values for t in first.trials] == [t.values for t in second.trials]
    assert [t.accuracy for t in first.trials] == [t.accuracy for t in second.trials]
    assert first.recipe == second.recipe


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--tune-budget", "271x1"), "has 270 images to train on beside 30 that trials"),
        (("--tune-budget", "many"), "as 4000x3"),
        (("--recipe", "tuned"), "leave out --recipe tuned"),
        (("--measure", "latency"), "--tune goes without --measure latency"),
        (("--set", "tuning.trials=3"), "only --recipe tuned sets it"),
        (("--tune-space", "absent.yaml"), "absent.yaml"),
        (("--tune", "0", "--tune-workers", "2"), "--tune-workers goes with --tune"),
        (("--set", "image_size=4"), "setting training.shift_pixels: 4 pixels, images have 4"),
    ],
)
def test_what_is_refused(project, options, words):
    refused = run(project, *TUNE, "--data-file", "shades.npz", *options)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert words in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": ["trunk_quantized"], "tune": 2}, "is made from trunk: tune that"),
        ({"models": ["vgg_pruned"], "tune": 2}, "is made from vgg_bn: tune that"),
        ({}, "--measure tune wants --tune NUMBER"),
    ],
)
def test_models_without_one_recipe_are_refused(capsys, tmp_path, changes, words):
    refuse(capsys, tmp_path, make_request(tmp_path, measure="tune", **changes), words)


def test_a_recipe_that_was_not_searched_is_named(capsys, tmp_path):
    request = make_request(tmp_path, recipe="tuned")
    refuse(capsys, tmp_path, request, "digits/resnet-cpu has not been tuned")


def test_a_compressed_model_has_the_recipe_of_its_base(capsys, tmp_path):
    request = make_request(tmp_path, models=["resnet_quantized"], recipe="tuned")
    refuse(capsys, tmp_path, request, "digits/resnet-cpu has not been tuned")
    tuning = make_tuning(recipe={"training.learning_rate": 0.004})
    TUNINGS.write(request.results_dir, tuning)
    cell = Cell(dataset="digits", model="resnet_quantized", device="cpu")
    settings = make_job(request, cell)[0].settings
    assert settings.training.learning_rate == 0.004
    assert settings.quantization.training.learning_rate != 0.004
    assert settings.tuning == tuning.budget


def test_models_that_were_not_tuned_are_not_alike_by_budget(capsys, tmp_path, monkeypatch):
    # No network is wrong here, and to try two takes ten seconds.
    monkeypatch.setattr(cells, "check_fit", lambda *_: None)
    request = make_request(tmp_path, models=["resnet20,deit"], fair="budget")
    refuse(capsys, tmp_path, request, "tune all with the same --tune and --tune-budget")
    request = make_request(tmp_path, models=["resnet20,deit"], fair="budgets")
    refuse(capsys, tmp_path, request, "unknown --fair 'budgets': did you mean budget?")
