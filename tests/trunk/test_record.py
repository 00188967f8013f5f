"""A cell of TRUNK from job to record: accuracy by routing, costs by path."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from cli.options import read_command
from harness.data.loading import load_job_data
from harness.jobs import Cell, Job
from harness.measure.operations import count_macs
from harness.measure.peak import Peak
from harness.networks.adapter import RoutedAdapter
from harness.records.cell import CELLS
from harness.run import costs
from harness.run.cell import run_cell
from harness.run.provision import ready_network
from harness.settings_spec import (
    EvaluationSettings,
    MeasurementSettings,
    QuantizationSettings,
    Settings,
    TrainingSettings,
    TreeSettings,
)
from harness.spec import NetworkPath, RoutedNetwork
from harness.verification.checks import Places
from harness.verification.recompute import check_record
from harness.verification.stated import check_agreement
from trunk import growing
from trunk.model import SPEC
from trunk.routing import Trunk

COUNTS = ("params", "gmacs", "gmacs_thop", "weights_mb")
STAGE = TrainingSettings(epochs=1, batch_size=10, learning_rate=0.01, start="random")


@pytest.fixture(autouse=True, scope="module")
def shortened():
    """Group 0 and 3 whatever is confused; leave out a child process and the calibration."""
    groups = {4: ((0, 3), (1,), (2,)), 2: ((0,), (1,))}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growing, "child_groups", lambda likelihood, _: groups[len(likelihood)])
        patch.setattr(costs, "measure_process_peak_mb", lambda *_: (None, "left out"))
        peak = Peak(gflops_per_s=100.0, method="left out")
        patch.setattr(costs, "measure_peak", lambda _: peak)
        yield


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Digits 0 to 3 at 8×8."""
    folder = tmp_path_factory.mktemp("record")
    digits = load_digits()
    chosen = np.concatenate([np.flatnonzero(digits.target == k)[:60] for k in range(4)])
    images = (digits.images[chosen] * 15).astype(np.uint8)
    labels = digits.target[chosen].astype(np.uint8)
    test = np.arange(len(chosen)) % 6 == 0
    np.savez(
        folder / "four.npz",
        train_images=images[~test],
        train_labels=labels[~test],
        test_images=images[test],
        test_labels=labels[test],
        classes=np.array(list("0123")),
    )
    quick = MeasurementSettings(
        latency_rounds=20,
        latency_seconds=0.01,
        throughput_batch_sizes=(1, 8),
        throughput_seconds=0.01,
    )
    return Job(
        cell=Cell(dataset="four", model="trunk", device="cpu"),
        settings=Settings(
            image_size=8,
            threads=1,
            training=STAGE,
            tree=TreeSettings(grouping=STAGE),
            measurement=quick,
        ),
        data_dir=folder,
        data_file=folder / "four.npz",
        weights_dir=folder / "weights",
        results_dir=folder / "results",
        offline=True,
        command="",
    )


@pytest.fixture(scope="module")
def record(job, shortened):
    return run_cell(job)


def test_the_record_says_what_routing_does(job, record):
    assert (record.status, record.label, record.accuracy.n_test) == ("ok", "TRUNK", 40)
    data = load_job_data(job, SPEC)
    trunk = ready_network(job, SPEC, data).network
    images, labels = data.test.images.float() / 255, data.test.labels
    routed = trunk.route(images)
    assert record.accuracy.accuracy_top1 == pytest.approx(
        100 * (routed == labels).double().mean().item()
    )
    assert record.accuracy.accuracy_top5 is None
    columns = np.array(record.accuracy.confusion_matrix).sum(0).tolist()
    assert columns == routed.bincount(minlength=4).tolist()
    paths = {path.name: path for path in record.paths}
    assert paths["root"].images == columns[1] + columns[2]
    assert paths["0"].images == columns[0] + columns[3]
    total = sum(path.gmacs * path.images for path in record.paths)
    assert record.operations.gmacs == pytest.approx(total / 40)
    assert record.operations.params == sum(p.numel() for p in trunk.parameters())
    assert {entry.stage for entry in record.weights.history} == {
        "root.classes",
        "root.groups",
        "0.classes",
    }
    assert record.weights.epochs == 3


def test_the_int8_tree_has_a_record_of_its_own(job, record):
    settings = dataclasses.replace(
        job.settings, quantization=QuantizationSettings(calibration_images=50)
    )
    cell = dataclasses.replace(job.cell, model="trunk_quantized")
    int8 = run_cell(dataclasses.replace(job, cell=cell, settings=settings))
    assert (int8.status, int8.label, int8.accuracy.precision) == ("ok", "TRUNK int8", "int8")
    assert int8.accuracy.accuracy_method.startswith("routed, int8 kernels of torch, x86")
    assert int8.weights.epochs == 0
    found = int8.compression
    assert found.base_weights_sha256 == record.weights.weights_sha256
    assert found.accuracy_base == record.accuracy.accuracy_top1
    assert found.params_base == record.operations.params
    assert found.weights_ratio_to_base == int8.memory.weights_mb / record.memory.weights_mb < 0.35
    assert (found.gmacs_base, found.speed_up) == (int8.operations.gmacs, 1)
    gmacs = {path.name: path.gmacs for path in record.paths}
    assert all(path.gmacs == gmacs[path.name] for path in int8.paths)
    assert int8.throughput.throughput_peak_share is None
    assert int8.not_measured["throughput_peak_share"].startswith("the peak is that of fp32")


def test_a_second_run_takes_the_same_tree_and_another_seed_another(job, record):
    other = dataclasses.replace(job, settings=dataclasses.replace(job.settings, seed=1))
    data = load_job_data(job, SPEC)
    again, another = (ready_network(each, SPEC, data).sha256 for each in (job, other))
    assert again == record.weights.weights_sha256 != another


def test_costs_are_those_of_the_nodes_that_ran(job, unsure_trunk):
    trunk = unsure_trunk(0).with_beam(2, 0.0)
    images = torch.randn(40, 1, 8, 8)
    classes, ran = trunk.follow(images)
    found = costs.measure_routed_costs(RoutedAdapter(trunk, trunk), images, classes, job)
    macs = {
        node.name: count_macs(network, torch.zeros(1, *node.network.input_shape))
        for node, network in zip(trunk.tree.nodes, trunk.networks.values(), strict=True)
    }
    mean = (ran.double() @ torch.tensor(list(macs.values())).double()).mean().item()
    assert found.operations.gmacs == pytest.approx(mean / 1e9)
    paths = {path.name: path for path in found.paths}
    assert sum(path.images for path in found.paths) == 40
    assert any("+" in name for name in paths)
    for name, path in paths.items():
        nodes = {"root"} | {
            end[: 2 * depth + 1]
            for end in name.split("+")
            for depth in range(end.count("-") + 1)
            if end != "root"
        }
        assert path.gmacs == pytest.approx(sum(macs[node] for node in nodes) / 1e9)
        assert path.latency_ms_p50 > 0
    assert found.memory.weights_mb == pytest.approx(4 * found.operations.params / 1e6, rel=0.1)


def test_a_record_along_several_paths_is_counted_and_verified(job):
    """An untrained tree is unsure everywhere: 0.5 for the other child is more than 0.25."""
    several = EvaluationSettings(beam=2, beam_threshold=0.25)
    settings = dataclasses.replace(job.settings, weights="random", evaluation=several)
    job = dataclasses.replace(job, settings=settings)
    record = run_cell(job)
    assert record.title == "TRUNK (beam 2)"
    method = "routed along up to 2 paths, the others from probability 0.25 on, batch norm folded"
    assert record.accuracy.accuracy_method.startswith(method)
    assert [(path.name, path.images, path.classes) for path in record.paths] == [("0+1", 40, 4)]
    assert record.operations.gmacs == record.paths[0].gmacs
    assert record.paths[0].params == record.operations.params
    places = Places(
        read_command=read_command,
        data_dir=job.data_dir,
        data_files=(job.data_file,),
        weights_dir=job.weights_dir,
        published_dir=None,
        results_dir=job.results_dir,
    )
    record = CELLS.read(CELLS.write(job.results_dir, record))
    counted = [each for each in check_record(record, places) if each.field.startswith("paths.")]
    assert [each.field for each in counted] == [f"paths.0+1.{name}" for name in COUNTS]
    assert all(each.holds for each in (*counted, *check_agreement(record)))
    wrong = (dataclasses.replace(record.paths[0], name="0+7"),)
    checks = check_record(dataclasses.replace(record, paths=wrong), places)
    assert "paths.0+7" in {each.field for each in checks if each.holds is False}


def test_every_class_is_on_exactly_one_path(small_tree):
    trunk = Trunk(small_tree).eval()
    assert isinstance(trunk, RoutedNetwork)
    assert isinstance(trunk.prepare_for_inference(), RoutedNetwork)
    paths = trunk.paths()
    assert all(isinstance(path, NetworkPath) for path in paths)
    assert {path.name: path.classes for path in paths} == {
        "root": (1, 2),
        "0": (3,),
        "0-0": (0, 4),
    }


def test_a_path_runs_the_networks_on_it_and_no_others(small_tree):
    torch.manual_seed(0)
    trunk = Trunk(small_tree).eval()
    image = torch.rand(1, 1, 8, 8)
    middle = next(path for path in trunk.paths() if path.name == "0")
    maps, _ = trunk.networks["root"](image)
    assert torch.equal(middle.network(image), trunk.networks["0"](maps)[1])
    numbers = [sum(p.numel() for p in part.parameters()) for part in trunk.networks.values()]
    assert sum(p.numel() for p in middle.network.parameters()) == numbers[0] + numbers[1]
