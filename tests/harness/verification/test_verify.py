"""Verification of records of cells that were run, untouched and tampered with."""

import dataclasses
import re
import shutil
from datetime import UTC, datetime

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cli.options import read_command
from harness.data.loading import load_job_data
from harness.errors import RequestError
from harness.jobs import Cell
from harness.measure.conditions import set_threads
from harness.networks.adapter import adapt
from harness.networks.build import build_network
from harness.networks.weights import Sidecar, save_weights
from harness.plan.jobs import make_job
from harness.records.cell import CELLS
from harness.records.cost import COSTS
from harness.records.predictions import PREDICTIONS, make_predictions, predictions_place
from harness.run import provision
from harness.run.accuracy import measure_accuracy
from harness.run.cell import begin_record
from harness.run.count import count_costs, count_path
from harness.run.provision import ready_network
from harness.settings import recipe_hash
from harness.verification import counts, recompute
from harness.verification.checks import Places, compare
from harness.verification.command import verify
from harness.verification.recompute import check_record
from harness.verification.stated import check_agreement, check_predictions, check_settings
from tests.records import cell_record, changed
from tests.refusals import make_request

MORE = {"mobilenet": {"training.epochs": 1}, "trunk": {"weights": "random"}}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A project with two cells: one whose weights count as trained, and a tree with random ones."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provision, "learn", save_untrained)
        for model, more in MORE.items():
            request = make_request(root, models=[model], overrides=more | {"threads": 1})
            job, spec = make_job(request, Cell(dataset="digits", model=model, device="cpu"))
            CELLS.write(root / "results", run_without_clock(job, spec))
    return root


def save_untrained(job, spec, data, path, *_):
    """Write random weights as `harness.training.fit.learn` writes trained ones."""
    sidecar = Sidecar(
        **dataclasses.asdict(job.cell),
        num_classes=len(data.classes),
        image_size=32,
        recipe_hash=recipe_hash(job.settings),
        data_sha256=data.source.sha256,
        start="random",
        seed=job.settings.seed,
        threads=1,
        training_seconds=0.0,
        logs=[],
        settings={},
    )
    network = build_network(spec, job.settings, len(data.classes), data.channels)
    return network, save_weights(path, network, sidecar)


def run_without_clock(job, spec):
    """Run a cell, but leave out what is timed."""
    set_threads(job.settings.threads)
    started, data = datetime.now(UTC), load_job_data(job, spec)
    ready = ready_network(job, spec, data)
    accuracy, part = measure_accuracy(ready.network, job, spec, data)
    predictions = make_predictions(accuracy.predictions, data.test.labels.numpy())
    record = cell_record(
        **{
            **begin_record(job, spec.label, started).flat,
            **vars(part),
            **count(ready.network, torch.zeros(1, 1, 32, 32)),
            "status": "ok",
            "weights_origin": ready.origin,
            "weights_sha256": ready.sha256,
            "image_size": 32,
            "classes": list(data.classes),
            "data_name": "digits",
            "data_sha256": data.source.sha256,
            "data_official": True,
            "predictions_sha256": predictions.sha256,
            "test_labels_sha256": predictions.labels_sha256,
        }
    )
    place = predictions_place(record.cell.dataset, record.stem)
    PREDICTIONS.write(job.results_dir, predictions, place)
    return record


def count(network, image):
    whole = recompute._count(network, image)
    # As many images on each path as it has classes.
    paths = [
        {**count_path(path, image), "images": len(path.classes), "latency_ms_p50": 1.0}
        for path in adapt(network).paths
    ]
    if not paths:
        return whole | {"gflops": 2 * whole["gmacs"]}
    images = sum(path["images"] for path in paths)
    gmacs = sum(path["gmacs"] * path["images"] for path in paths) / images
    return whole | {"gmacs": gmacs, "gflops": 2 * gmacs, "paths": paths}


@pytest.fixture
def project(ran, tmp_path):
    """A copy of it to do harm to."""
    return shutil.copytree(ran, tmp_path / "project")


def places_in(root):
    return Places(
        read_command=read_command,
        data_dir=root / "data",
        data_files=(),
        weights_dir=root / "weights",
        published_dir=None,
        results_dir=root / "results",
    )


def record_of(root, model="mobilenet"):
    return next(each for each in CELLS.read_all(root / "results") if each.cell.model == model)


def tamper(root, **changes):
    CELLS.write(root / "results", changed(record_of(root), **changes))


def test_all_of_an_untouched_record_holds(ran, capsys, monkeypatch):
    fields = {}

    def note(record, places):
        checks = check_record(record, places)
        fields[record.cell.model] = {check.field for check in checks}
        return checks

    monkeypatch.setattr(recompute, "check_record", note)
    assert verify([], places_in(ran)) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split(":")[0] for line in lines]
    assert names == ["digits/mobilenet-cpu", "digits/trunk-cpu", "in all"]
    assert "hold, 0 do not, 0 not recomputed;" in lines[-1]
    assert fields["mobilenet"] == {
        *("data_sha256", "weights_sha256", "params", "weights_mb", "gmacs", "gmacs_thop"),
        *("accuracy_top1", "predictions_sha256"),
    }
    paths = {f"paths.{path.name}.gmacs" for path in record_of(ran, "trunk").paths}
    assert len(paths) > 1
    assert paths <= fields["trunk"]


@pytest.mark.parametrize(
    "changes",
    [
        {
            "gmacs": (0.5, "recorded 0.5, now "),
            "params": (9_999_999, "recorded 9999999, now 2236106"),
            "weights_mb": (9.0, "recorded 9, now "),
            "gmacs_thop": (None, "recorded None, now "),
            "settings_hash": ("0" * 16, "recorded 0000000000000000, now "),
            "weights_sha256": ("cd" * 32, "recorded cdcdcdcdcdcd…, now "),
        },
        {"data_sha256": ("ab" * 32, "recorded abababababab…, now d863eba0645a…")},
    ],
    ids=["figures", "images"],
)
def test_what_was_changed_in_a_record_is_named(project, capsys, changes):
    tamper(project, **{field: value for field, (value, _) in changes.items()})
    assert verify(["digits/mobilenet-cpu"], places_in(project)) == 1
    text = capsys.readouterr().out
    for field, (_, words) in changes.items():
        assert f"digits/mobilenet-cpu: {field}: {words}" in text
    # What follows from a changed field differs as well.
    also = {"gflops"} if "gmacs" in changes else set()
    assert set(re.findall(r": (\w+): recorded", text)) == set(changes) | also


@pytest.mark.parametrize("names", [[], ["digits/mobilenet-cpu"]])
def test_a_record_that_contradicts_itself_is_named_and_fails(project, capsys, monkeypatch, names):
    monkeypatch.setattr(recompute, "check_record", lambda *_: [])
    tamper(project, n_test=361)
    assert verify(names, places_in(project)) == 1
    broken, *others = capsys.readouterr().out.splitlines()
    assert "mobilenet-cpu.json: not a record (accuracy.confusion_matrix has 360 images" in broken
    assert any(line.startswith("digits/trunk-cpu: ") for line in others) == (not names)
    assert "0 hold, 1 do not" in others[-1] or not names


def test_a_better_accuracy_is_found_out_even_where_the_matrix_agrees(project, capsys):
    record = record_of(project)
    counts = [[0] * 10 for _ in range(10)]
    for label, row in enumerate(record.accuracy.confusion_matrix):
        counts[label][label] = sum(row)
    perfect = {"accuracy_top1": 100.0, "accuracy_top1_low": 98.94424447, "accuracy_top5": 100.0}
    tamper(project, confusion_matrix=counts, **perfect, accuracy_top1_high=100.0)
    assert verify(["digits/mobilenet-cpu"], places_in(project)) == 1
    found = [line for line in capsys.readouterr().out.splitlines() if "accuracy_top1:" in line]
    right = round(record.accuracy.accuracy_top1 * 3.6)
    assert found == [
        f"digits/mobilenet-cpu: accuracy_top1: recorded 360 of 360 images right, now {right} of 360"
    ]


def test_predictions_are_held_against_the_record_and_made_anew(project, capsys):
    record, places = record_of(project), places_in(project)
    labels = np.repeat(np.arange(10), [sum(row) for row in record.accuracy.confusion_matrix])
    other = make_predictions(labels.astype("uint16"), labels)
    PREDICTIONS.write(project / "results", other, predictions_place("digits", record.stem))
    (found,) = check_predictions(record, places)
    assert (found.holds, found.text) == (
        False,
        "the predictions beside it are those of another run",
    )
    digests = {"predictions_sha256": other.sha256, "test_labels_sha256": other.labels_sha256}
    tamper(project, **digests)
    assert verify(["digits/mobilenet-cpu"], places) == 1
    text = capsys.readouterr().out
    right = round(record.accuracy.accuracy_top1 * 3.6)
    assert f"predictions (right): recorded {right}, now 360\n" in text
    assert "predictions_sha256: recorded " in text
    (project / "results" / "predictions" / "digits" / f"{record.stem}.json").unlink()
    (found,) = check_predictions(record, places)
    assert (found.holds, found.text) == (False, "its predictions are not there")


def test_other_weights_are_noticed_and_not_evaluated(project, capsys):
    (path,) = (project / "weights" / "digits").glob("mobilenet-*.safetensors")
    state = load_file(path)
    name = next(name for name, value in state.items() if value.dtype == torch.float32)
    state[name][0] += 1
    save_file(state, path)
    assert verify(["digits/mobilenet-cpu"], places_in(project)) == 1
    text = capsys.readouterr().out
    assert "digits/mobilenet-cpu: weights_sha256: recorded " in text
    assert "digits/mobilenet-cpu: accuracy_top1: not recomputed: it takes the same weights" in text


def test_without_weights_counts_are_checked_all_the_same(project, capsys):
    shutil.rmtree(project / "weights")
    assert verify(["digits/mobilenet-cpu"], places_in(project)) == 0
    text = capsys.readouterr().out
    assert "weights_sha256: not recomputed: no weights at digits/mobilenet-" in text
    tamper(project, gmacs=0.5)
    assert verify(["digits/mobilenet-cpu"], places_in(project)) == 1


def test_images_that_stood_in_are_asked_for_by_name(project, capsys):
    tamper(project, data_official=False, data_name="mine.npz")
    assert verify(["digits/mobilenet-cpu"], places_in(project)) == 0
    text = capsys.readouterr().out
    assert "data_sha256: not recomputed: give --data-file …/mine.npz" in text
    assert "accuracy_top1: not recomputed: it takes the same images" in text


def test_settings_that_are_others_today_are_named(ran):
    record = record_of(ran)
    used = record.settings.settings
    other = used | {"training": used["training"] | {"epochs": 7}}
    found = check_settings(changed(record, settings=other), places_in(ran))
    assert [(c.field, c.holds, c.text) for c in found] == [
        ("settings.training.epochs", False, "recorded 7, now 1")
    ]
    for model in ("mobilenet", "trunk"):
        assert [c.holds for c in check_settings(record_of(ran, model), places_in(ran))] == [True]


def test_a_command_of_another_version_is_no_failure(ran):
    record = changed(record_of(ran), command="python comparisons.py --sing loudly")
    (found,) = check_settings(record, places_in(ran))
    assert found.holds is None
    assert found.text == "not recomputed: the command has --sing loudly, which is unknown here"
    with pytest.raises(RequestError, match=r"no run of comparisons\.py: 'rm -r'"):
        read_command("rm -r")


def test_a_setting_that_is_gone_is_no_failure(ran):
    record = changed(record_of(ran), settings={"colour": "red"})
    (found,) = check_record(record, places_in(ran))
    assert found.holds is None
    assert "setting colour is not one of this version" in found.text


def test_parts_of_a_record_that_contradict_each_other(ran):
    record = record_of(ran)
    assert all(check.holds for check in check_agreement(record))
    wrong = changed(record, accuracy_top1_low=0.0)
    assert [c.field for c in check_agreement(wrong) if not c.holds] == ["accuracy_top1_low"]
    tree = record_of(ran, "trunk")
    paths = [vars(tree.paths[0]) | {"gmacs": 1.0}, *tree.paths[1:]]
    wrong = changed(tree, paths=paths)
    assert [c.field for c in check_agreement(wrong) if not c.holds] == ["gmacs (mean of the paths)"]


def test_counted_costs_are_counted_again(tmp_path, capsys, monkeypatch):
    command = "python comparisons.py --dataset digits --model mobilenet --set image_size=32"
    request = places_in(tmp_path).read_request(command)
    job, _ = make_job(request, Cell(dataset="digits", model="mobilenet", device="cpu"))
    job = dataclasses.replace(job, command=f"{command} --measure cost")
    cost = count_costs(job)
    COSTS.write(tmp_path / "results", cost)
    name = "costs/digits/mobilenet-32"
    assert verify([name], places_in(tmp_path)) == 0
    monkeypatch.setattr(counts, "count_costs", lambda job: cost)
    COSTS.write(tmp_path / "results", dataclasses.replace(cost, file_mb=1.0))
    assert verify([], places_in(tmp_path)) == 1
    text = capsys.readouterr().out
    assert f"{name}: 11 of 11 hold" in text
    assert f"{name}: file_mb: recorded 1, now {cost.file_mb:.10g}\n" in text


def test_an_unknown_record_is_refused_with_near_matches(ran):
    with pytest.raises(RequestError, match=r"unknown record 'digits/mobilnet-cpu': did you mean"):
        verify(["digits/mobilnet-cpu"], places_in(ran))


def test_rounding_is_no_difference_and_digests_are_short():
    assert compare("gmacs", 0.1 + 0.2, 0.3).holds
    assert not compare("gmacs", 0.3, 0.300001).holds
    assert compare("x", "ab" * 32, "cd" * 32).text == "recorded abababababab…, now cdcdcdcdcdcd…"
