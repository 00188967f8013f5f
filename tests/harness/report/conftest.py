"""What tests of reports share: made-up records."""

import pytest

from tests.records import cell_record


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


@pytest.fixture(name="make_epoch")
def _make_epoch():
    return make_epoch


@pytest.fixture(name="make_run", scope="module")
def _make_run():
    return make_run
