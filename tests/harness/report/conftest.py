"""What tests of reports share: made-up records and counts."""

import pytest

from harness.cost_records import CostPath, CostRecord
from harness.records import Record


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
    return Record(**(fields | changes))


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
    return CostRecord(**(fields | changes))


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


@pytest.fixture(name="make_record")
def _make_record():
    return make_record


@pytest.fixture(name="make_cost")
def _make_cost():
    return make_cost


@pytest.fixture(name="make_path")
def _make_path():
    return make_path
