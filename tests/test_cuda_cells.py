"""Whole cells of every model on an emulated GPU: trained, stopped, resumed and measured."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from harness.catalog import load_model
from harness.data.batches import ImageBatches
from harness.data.loading import load_job_data
from harness.data.preprocess import Preprocess
from harness.data.splits import MemorySplit
from harness.jobs import Cell, Job
from harness.measure import peak, throughput
from harness.plan.settings import complete_settings
from harness.registry import load_dataset, model_files
from harness.run.cell import run_cell
from harness.run.provision import ready_network
from harness.settings import load_settings
from harness.settings_spec import TrainingSettings
from harness.training import checkpoints, loop
from tests.emulated_cuda import NAME, emulated_cuda
from tests.trunk.published_svhn import write_svhn

# Larger networks take minutes under emulation. The pruned one has few layers.
IN_THE_SUITE = ("trunk", "vgg_pruned")
IMAGE_SIZES = {"dinov2": 28, "trunk": 8, "trunk_quantized": 8, "vgg_pruned": 16}
QUICK = {
    "threads": 1,
    "training.epochs": 2,
    "training.batch_size": 8,
    "training.start": "random",
    "measurement.latency_rounds": 20,
    "measurement.latency_seconds": 0.01,
    "measurement.throughput_seconds": 0.01,
    "measurement.throughput_batch_sizes": (1, 2),
}
MEASURED = ("accuracy_top1", "latency_ms_p50", "throughput_images_per_s", "peak_memory_mb")
STAGE = {"epochs": 1, "batch_size": 8, "start": "random"}
TREE = {
    "backbone": "compact",
    "grouping": STAGE,
    "class_below": STAGE,
    "joint": STAGE,
    "fold": True,
    "held_out": 0.3,
}
SECTIONS = {
    "trunk": {"tree": TREE},
    "trunk_quantized": {"tree": TREE, "quantization.calibration_images": 8},
    "resnet_quantized": {"quantization.training": STAGE},
    "vgg_pruned": {"pruning.training": STAGE, "pruning.steps": 64, "pruning.speed_up": 1.2},
}


def models():
    return [
        name if name in IN_THE_SUITE else pytest.param(name, marks=pytest.mark.slow)
        for name in model_files()
    ]


@pytest.fixture
def cuda(monkeypatch):
    # Products and batches as large as a GPU wants would take a CPU minutes.
    monkeypatch.setitem(peak._SIDE, "cuda", 64)
    monkeypatch.setattr(throughput, "_sizes", lambda sizes, endless: sizes)
    with emulated_cuda() as cuda:
        yield cuda


@pytest.fixture
def images(tmp_path, model):
    """A file of a few 8×8 images of digits; two thirds to train on, the others to test on."""
    digits = load_digits()
    count = 30 if model in ("trunk", "trunk_quantized") else 4
    rows = np.concatenate([np.flatnonzero(digits.target == k)[:count] for k in range(10)])
    stored, labels = (digits.images[rows] * 15).astype(np.uint8), digits.target[rows]
    test = np.arange(len(rows)) % 3 == 0
    path = tmp_path / "few.npz"
    np.savez(
        path,
        train_images=stored[~test],
        train_labels=labels[~test],
        test_images=stored[test],
        test_labels=labels[test],
        classes=np.array(list("0123456789")),
    )
    return path


def make_job(folder, images, model, **overrides):
    spec = load_model(model)
    usual = {"image_size": IMAGE_SIZES.get(model, 32)}
    settings = load_settings("digits", model, usual | QUICK | SECTIONS.get(model, {}) | overrides)
    on_cpu = "cuda" not in spec.devices
    return Job(
        cell=Cell(dataset="digits", model=model, device="cpu" if on_cpu else "cuda"),
        trained_on="cuda" if on_cpu else None,
        settings=complete_settings(settings, spec, load_dataset("digits")),
        data_dir=folder,
        data_file=images,
        weights_dir=folder / "weights",
        results_dir=folder / "results",
        offline=True,
        command="",
    )


class StopError(Exception):
    pass


@pytest.fixture
def _few_layers(monkeypatch, model):
    if model == "vgg_pruned":
        load_model("vgg_bn")
        vgg_bn = sys.modules["monolithic_architectures.vgg_bn.model"]
        monkeypatch.setattr(vgg_bn, "LAYERS", [64, "M", 128, "M", 512])


@pytest.mark.usefixtures("_few_layers")
@pytest.mark.parametrize("model", models())
def test_a_cell_is_trained_stopped_resumed_and_measured(cuda, tmp_path, images, model, monkeypatch):
    whole = run_cell(make_job(tmp_path / "whole", images, model))
    assert whole.status == "ok"
    assert (whole.machine.device_name == NAME) == (whole.cell.device == "cuda")
    assert whole.weights.training_device == "cuda"
    assert all(whole.flat[name] is not None for name in MEASURED)

    job, spec = make_job(tmp_path / "stopped", images, model), load_model(model)
    data = load_job_data(job, spec)

    def save_and_stop(path, state):
        checkpoints.save_checkpoint(path, state)
        raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", save_and_stop)
        with pytest.raises(StopError):
            ready_network(job, spec, data)
    resumed = ready_network(job, spec, data)
    assert resumed.sha256 == whole.weights.weights_sha256


def test_a_published_tree_is_evaluated_and_measured(cuda, tmp_path):
    write_svhn(tmp_path / "published" / "trunk")
    labels = np.arange(40, dtype=np.uint8) % 10
    pixels = np.random.default_rng(0).integers(256, size=(40, 32, 32, 3), dtype=np.uint8)
    names = (f"{part}_{kind}" for part in ("train", "test") for kind in ("images", "labels"))
    arrays = dict(zip(names, (pixels, labels) * 2, strict=True))
    np.savez(tmp_path / "few.npz", **arrays, classes=np.array(list("0123456789")))

    values = {name: value for name, value in QUICK.items() if not name.startswith("training.")}
    settings = load_settings("svhn", "trunk", values | {"weights": "published"}, recipe="published")
    job = replace(
        make_job(tmp_path, tmp_path / "few.npz", "trunk"),
        cell=Cell(dataset="svhn", model="trunk", device="cuda"),
        settings=complete_settings(settings, load_model("trunk"), load_dataset("svhn")),
        published_dir=tmp_path / "published",
    )
    record = run_cell(job)
    assert record.status == "ok", record.reason
    assert (record.machine.device_name, record.weights.weights_origin) == (NAME, "published")
    assert all(record.flat[name] is not None for name in MEASURED)
    assert sum(path.images for path in record.paths) == len(labels)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {
            "random_resized_crop": (0.3, 1.0),
            "mixup_alpha": 0.2,
            "cutmix_alpha": 1.0,
            "label_smoothing": 0.1,
            "schedule": "cosine",
            "warmup_epochs": 0.5,
            "layer_decay": 0.7,
            "ema_decay": 0.9,
            "epochs": 2,
        },
    ],
    ids=["plain", "all"],
)
def test_a_step_never_waits_for_the_device(cuda, more):
    steps = 40
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (2 * steps, 3, 10, 10), dtype=torch.uint8, generator=generator)
    split = MemorySplit(images, torch.arange(2 * steps) % 3)
    moves = {"shift_pixels": 1, "horizontal_flip": True, "cutout": (1, 3)}
    recipe = TrainingSettings(batch_size=2, **moves, **more)
    preprocess = Preprocess(image_size=8, mean=(0.5,) * 3, std=(0.5,) * 3)
    batches = ImageBatches(split, preprocess, recipe, 0, "cuda")
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, 3))
    run = loop._Run(network, batches, recipe, "cuda", "")
    for _ in range(2):
        cuda.reset()
        run.epoch(lambda: None, 1e9)
    # Nothing but the epoch's sums begins on the host; a report every ten steps reads them.
    assert cuda.copies.total() <= 2
    assert cuda.reads.total() <= steps // 10
