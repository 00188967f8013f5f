"""What tests of reports share: made-up records and counts."""

import pytest

from harness.records.cost import CostPath
from tests.records import cell_record, cost_record


def make_record(**changes):
    fields = {
        "dataset": "cifar10",
        "model": "resnet",
        "label": "ResNet-50",
        "device": "cpu",
        "status": "ok",
        "accuracy_top1": 90.0,
        "accuracy_top1_low": 89.0,
        "accuracy_top1_high": 91.0,
        "n_test": 10_000,
        "latency_ms_p50": 25.0,
        "weights_mb": 94.0,
        "gmacs": 4.0,
        "gmacs_thop": 4.1,
        "device_name": "a processor",
        "threads": 2,
        "weights_origin": "trained",
        "start": "imagenet",
        "epochs": 2,
        "training_seconds": 90.0,
        "image_size": 224,
        "data_name": "cifar10",
        "data_sha256": "0123456789abcdef0123",
        "data_official": True,
        "seed": 42,
        "settings": {"seed": 42},
    }
    return cell_record(**(fields | changes))


def make_cost(**changes):
    fields = {
        "dataset": "cifar10",
        "model": "resnet",
        "label": "ResNet-50",
        "image_size": 224,
        "channels": 3,
        "classes": 10,
        "weights_origin": "random",
        "params": 23_500_000,
        "weights_mb": 94.33,
        "file_mb": 94.43,
        "peak_memory_mb": 10.44,
        "gmacs": 4.087,
        "gflops": 8.174,
        "gmacs_thop": 4.1317,
        "command": "python comparisons.py --measure cost",
    }
    return cost_record(**(fields | changes))


def make_path(name, **changes):
    fields = {
        "classes": 5,
        "params": 160_000,
        "weights_mb": 0.65,
        "file_mb": 0.66,
        "gmacs": 0.08,
        "gmacs_thop": 0.0817,
    }
    return CostPath(name=name, **(fields | changes))


def make_epoch(**changes):
    fields = {"epoch": 1, "loss": 2.0, "accuracy": 0.5, "learning_rate": 0.01, "seconds": 1.0}
    return fields | changes


def make_run(model="resnet", **changes):
    """Return a record with everything that the page and the figures show."""
    fields = {
        "dataset": "digits",
        "model": model,
        "label": model.title(),
        "device": "cpu",
        "status": "ok",
        "accuracy_top1": 90.0,
        "accuracy_top1_low": 85.0,
        "accuracy_top1_high": 94.0,
        "n_test": 10,
        "latency_ms_p50": 4.0,
        "throughput_images_per_s": 250.0,
        "peak_memory_mb": 0.5,
        "weights_mb": 94.0,
        "gmacs": 0.08,
        "device_name": "a processor",
        "threads": 2,
        "weights_origin": "trained",
        "weights_sha256": "0123456789abcdef" * 4,
        "image_size": 32,
        "classes": ["0", "1"],
        "data_name": "digits",
        "data_sha256": "d863eba0645a6bd8" * 4,
        "data_official": True,
        "seed": 42,
        "settings_hash": "9abcb8481954dc77",
        "settings": {"seed": 42, "training": {"epochs": 2}},
        "environment": {"python": "3.11.7", "libraries": {"torch": "2.15.0"}},
        "git_commit": "ebd12c360d6a541ace8d24bada7457f224acce56",
        "git_dirty": False,
        "started": "2026-11-22T13:03:27+00:00",
        "command": f"python comparisons.py --dataset digits --model {model} --device cpu",
        "not_measured": {"energy_j_per_image": "no counters here"},
        "history": [
            make_epoch(loss=2.03214576, accuracy=0.25, seconds=1.5),
            make_epoch(epoch=2, loss=0.5, accuracy=0.75, seconds=1.25),
        ],
        "confusion_matrix": [[4, 1], [0, 5]],
    }
    return cell_record(**(fields | changes))


@pytest.fixture(name="make_record")
def _make_record():
    return make_record


@pytest.fixture(name="make_cost")
def _make_cost():
    return make_cost


@pytest.fixture(name="make_path")
def _make_path():
    return make_path


@pytest.fixture(name="make_epoch")
def _make_epoch():
    return make_epoch


@pytest.fixture(name="make_run", scope="module")
def _make_run():
    return make_run
