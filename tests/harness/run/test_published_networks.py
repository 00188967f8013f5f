"""Weights saved the way the publication saved them: every cell loads them, with equal logits."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from harness.catalog import load_model
from harness.errors import RequestError
from harness.networks.published import published_file
from harness.plan.settings import complete_settings
from harness.records.cost import COSTS
from harness.registry import load_dataset
from harness.run import provision
from harness.run.cell import run_cell
from harness.run.count import count_costs
from harness.settings import load_settings
from harness.util.files import file_sha256
from tests import jobs
from tests.publisher import MAKERS, TRANSFORMERS, publish, save


def publish_file(tmp_path, dataset, model, monkeypatch):
    """Return a network that the publisher made, and its file, which has the published digest."""
    shape = load_dataset(dataset)
    network = publish(model, len(shape.classes), shape.channels)
    file = published_file(dataset, model)
    path = tmp_path / file.path
    save(network, path, monkeypatch)
    fake = dataclasses.replace(file, digest=file_sha256(path), digest_kind="sha256", bytes="")
    monkeypatch.setattr(provision, "published_file", lambda *_: fake)
    return network, path


def make_job(tmp_path, dataset, model, data_file=None, **overrides):
    settings = load_settings(dataset, model, {"weights": "published", **overrides})
    settings = complete_settings(settings, load_model(model), load_dataset(dataset))
    places = {"data_file": data_file, "published_dir": tmp_path, "results_dir": tmp_path}
    return jobs.make_job(dataset, model, tmp_path, settings=settings, **places)


# The slow ones take about 50 seconds together.
CELLS = [
    pytest.param(model, dataset, marks=[pytest.mark.slow] if model in large else [])
    for dataset, large in (
        ("emnist", ("vgg",)),
        ("cifar10", ("vgg", "convnext", "vit", "dinov2")),
        ("svhn", MAKERS),
    )
    for model in MAKERS
]


@pytest.mark.parametrize(("model", "dataset"), CELLS)
def test_what_the_publisher_saved_is_loaded(model, dataset, tmp_path, monkeypatch):
    theirs, path = publish_file(tmp_path, dataset, model, monkeypatch)
    shape = load_dataset(dataset)
    job = make_job(tmp_path, dataset, model)
    try:
        ready = provision.ready_network(
            job, load_model(model), SimpleNamespace(classes=shape.classes, channels=shape.channels)
        )
    finally:
        path.unlink()  # half a gigabyte, of which pytest would keep several
    assert ready.origin == "published"
    assert not ready.network.training
    side = 224 if model in TRANSFORMERS else 64
    images = torch.rand(1, shape.channels, side, side)
    with torch.inference_mode():
        wanted, found = theirs(images), ready.network(images)
    assert wanted.std() > 1e-3
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.parametrize("model", MAKERS)
def test_svhn_has_the_shapes_of_cifar10_and_a_file_of_its_own(model):
    shapes = [load_dataset(name) for name in ("svhn", "cifar10")]
    assert len({(len(shape.classes), shape.channels) for shape in shapes}) == 1
    files = {published_file(name, model).path for name in ("svhn", "cifar10", "emnist")}
    assert len(files) == 3


QUICK = {
    "image_size": 32,
    "threads": 1,
    "measurement.latency_rounds": 20,
    "measurement.latency_seconds": 0.01,
    "measurement.throughput_seconds": 0.01,
    "measurement.throughput_batch_sizes": (1, 2),
}


@pytest.mark.slow  # about 20 seconds each, and they wait until nothing else is measured
@pytest.mark.parametrize(
    ("model", "title", "precision"),
    [
        ("resnet_quantized", "ResNet-50 with observers", "fp32 with observers"),
        ("vgg_pruned", "VGG-16-BN pruned", "fp32"),
    ],
)
def test_a_cell_of_a_compressed_model_is_measured(model, title, precision, tmp_path, monkeypatch):
    publish_file(tmp_path, "cifar10", model, monkeypatch)
    generator = np.random.default_rng(0)
    images = {
        f"{part}_images": generator.integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
        for part in ("train", "test")
    }
    labels = {f"{part}_labels": np.arange(10) for part in ("train", "test")}
    classes = np.array(load_dataset("cifar10").classes)
    np.savez(tmp_path / "few.npz", classes=classes, **images, **labels)
    job = make_job(tmp_path, "cifar10", model, tmp_path / "few.npz", **QUICK)
    record = run_cell(job)
    assert (record.status, record.title) == ("ok", f"{title} (published weights)")
    assert record.stem == f"{model}-published-cpu"
    assert record.weights.weights_origin == "published"
    assert record.accuracy.precision == precision
    assert record.accuracy.n_test == 10
    operations, memory = record.operations, record.memory
    assert record.latency.latency_ms_p50 > 0
    assert memory.peak_memory_mb > 0
    if model == "resnet_quantized":
        # thop knows nothing but the last batch norm of each block, and the mean.
        assert operations.gmacs_thop < 0.01 * operations.gmacs
        assert memory.weights_mb == pytest.approx(94.98, abs=0.01)
    else:
        assert operations.gmacs_thop == pytest.approx(0.20, abs=0.005)
        assert memory.weights_mb == pytest.approx(29.48, abs=0.01)


def test_the_published_form_is_counted_without_its_file(tmp_path):
    record = count_costs(make_job(tmp_path, "svhn", "resnet_quantized"))
    assert COSTS.locate(record).name == "resnet_quantized-published-224.json"
    assert (record.variant, record.label) == ("published", "ResNet-50 with observers")
    assert f"{record.gmacs_thop:.2f} {record.file_mb:.2f}" == "0.02 95.20"
    # 4 for each number that the last batch norm of a block gives, 49 + 1 for each of 2048 means.
    norms = 3 * 256 * 56**2 + 4 * 512 * 28**2 + 6 * 1024 * 14**2 + 3 * 2048 * 7**2
    assert record.gmacs_thop * 1e9 == 4 * norms + 50 * 2048
    # The shape of the pruned network is that of its weights.
    with pytest.raises(RequestError, match=r"svhn_vgg16_l1\.pth is not there"):
        count_costs(make_job(tmp_path, "svhn", "vgg_pruned"))
