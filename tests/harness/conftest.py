"""What tests here share: made-up records of each kind, models in folders of their own."""

import pytest

from harness import registry
from harness.records.cost import CostPath
from harness.records.latency import LatencyRow
from tests.records import cell_record, cost_record, latency_record


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


def make_row(model, label, ratio=None, **changes):
    fields = {"model": model, "label": label, "runtime": "eager", "image_size": 32}
    if ratio is not None:
        fields |= {
            "runtime_method": "2.0: evaluation mode, fp32",
            "weights_origin": "trained",
            "weights_sha256": "0123",
            "max_difference": 0.0,
            "latency_ms_p05": 9 * ratio,
            "latency_ms_p50": 10 * ratio,
            "latency_ms_p95": 12.345 * ratio,
            "latency_ms_p99": 20 * ratio,
            "ratio": ratio,
            "ratio_low": 0.9 * ratio,
            "ratio_high": 1.1 * ratio,
            "ratio_by_process": [ratio, 1.0625 * ratio, 0.96875 * ratio],
        }
    return LatencyRow(**(fields | changes))


def make_latency_record(**changes):
    fields = {
        "dataset": "cifar10",
        "device": "cpu",
        "device_name": "a processor",
        "threads": 2,
        "cores": [1, 3],
        "reference": "resnet",
        "reference_runtime": "eager",
        "processes": 3,
        "rounds": 100,
        "drift": 0.0123,
        "drifted": False,
        "reruns": 0,
        "method": "perf_counter_ns",
        "load": {"others_share": 0.01},
        "busy": None,
        "rows": (
            make_row("vit", "ViT-B/16", 2.5),
            make_row(
                *("resnet", "ResNet-50", 1.0),
                ratio_low=1.0,
                ratio_high=1.0,
                ratio_by_process=[1.0, 1.0, 1.0],
            ),
            make_row("trunk", "TRUNK", reason="it is routed, and there are no weights"),
            make_row("vit", "ViT-B/16", 0.0625, runtime="compile", weights_origin="random"),
        ),
        "data_name": "cifar10",
        "data_sha256": "abcd",
        "seed": 42,
        "environment": {"python": "3.11"},
        "git_commit": "c0ffee",
        "git_dirty": False,
        "started": "2026-01-01T00:00:00+00:00",
        "duration_s": 12.3,
        "command": "python comparisons.py --measure latency",
    }
    return latency_record(**(fields | changes))


@pytest.fixture(name="make_record")
def _make_record():
    return make_record


@pytest.fixture(name="make_cost")
def _make_cost():
    return make_cost


@pytest.fixture(name="make_path")
def _make_path():
    return make_path


@pytest.fixture(name="make_row")
def _make_row():
    return make_row


@pytest.fixture(name="make_latency_record")
def _make_latency_record():
    return make_latency_record


@pytest.fixture
def add_model(tmp_path, monkeypatch):
    """Add a model by name and text, in a project that has no other ones."""
    monkeypatch.setattr(registry, "ROOT", tmp_path)
    monkeypatch.setattr(registry.model_files, "__defaults__", (tmp_path,))

    def add_model(name, text):
        folder = tmp_path / "monolithic_architectures" / name
        folder.mkdir(parents=True)
        (folder / "model.py").write_text(text)

    return add_model
