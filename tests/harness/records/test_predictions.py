"""Predictions: kept compactly, read without numpy, and not used where they are not the record's."""

import base64
import hashlib
import json
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from harness.records.predictions import (
    PREDICTIONS,
    find_predictions,
    make_predictions,
    predictions_place,
)
from tests.records import cell_record

ROOT = Path(__file__).resolve().parents[3]
CLASSES = np.array([3, 0, 767, 1, 1, 2, 0, 0, 3], dtype=np.uint16)
LABELS = np.array([3, 1, 0, 1, 1, 2, 0, 0, 2])


def keep(tmp_path, **changes):
    """Write the predictions of a record, and return the record."""
    found = make_predictions(CLASSES, LABELS)
    fields = {
        "dataset": "digits",
        "model": "net",
        "label": "Net",
        "device": "cpu",
        "status": "ok",
        "accuracy_top1": 66.7,
        "predictions_sha256": found.sha256,
        "test_labels_sha256": found.labels_sha256,
    }
    record = cell_record(**(fields | changes))
    PREDICTIONS.write(tmp_path, found, predictions_place(record.cell.dataset, record.stem))
    return record


def test_what_is_read_is_what_was_kept(tmp_path):
    record = keep(tmp_path)
    found, reason = find_predictions(tmp_path, record)
    assert reason == ""
    classes = zlib.decompress(base64.b64decode(found.classes))
    assert classes == CLASSES.astype("<u2").tobytes()
    # Images 0, 3, 4, 5, 6 and 7 are right.
    assert found.right_bits == 0b0_1111_1001
    assert found.images == 9
    labels = b"".join(int(label).to_bytes(2, "little") for label in LABELS)
    assert found.labels_sha256 == hashlib.sha256(labels).hexdigest()


def test_they_are_small(tmp_path):
    # 18,800 images of 47 classes, a tenth of them wrong: 6 bits an image in base64, and a little.
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 47, 18_800)
    classes = np.where(generator.random(18_800) < 0.9, labels, 46 - labels).astype(np.uint16)
    path = PREDICTIONS.write(
        tmp_path, make_predictions(classes, labels), predictions_place("emnist", "net-cpu")
    )
    assert path == tmp_path / predictions_place("emnist", "net-cpu")
    assert path.stat().st_size < 30_000


def test_reading_them_takes_neither_numpy_nor_torch(tmp_path):
    record = keep(tmp_path)
    text = json.dumps(record.flat)
    code = (
        "import sys, json, pathlib; from harness.records.predictions import find_predictions;"
        "from tests.records import cell_record;"
        f"record = cell_record(**json.loads({text!r}));"
        f"found, _ = find_predictions(pathlib.Path({str(tmp_path)!r}), record);"
        "print(found.right_bits.bit_count(), *({'numpy', 'torch', 'pickle'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "6"
    assert not {"numpy", "torch"} & set(done.stdout.split())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"predictions_sha256": None}, "it was made before predictions were kept"),
        ({"predictions_sha256": "0" * 64}, "the predictions beside it are those of another run"),
        ({"test_labels_sha256": "0" * 64}, "the predictions beside it are those of another run"),
    ],
)
def test_predictions_of_another_run_are_not_used(tmp_path, changes, reason):
    record = keep(tmp_path, **changes)
    assert find_predictions(tmp_path, record) == (None, reason)


BREAK = {
    "half a file": lambda text: text[: len(text) // 2],
    "no base64": lambda text: text.replace('"classes": "', '"classes": "*'),
    "not compressed": lambda text: json.dumps(json.loads(text) | {"classes": "AAAA"}),
    "a foreign field": lambda text: json.dumps(json.loads(text) | {"colour": "red"}),
    "a newer version": lambda text: json.dumps(json.loads(text) | {"schema": 9}),
}


@pytest.mark.parametrize("change", BREAK.values(), ids=BREAK)
def test_damaged_predictions_are_named_and_not_used(tmp_path, change):
    record = keep(tmp_path)
    path = tmp_path / predictions_place("digits", "net-cpu")
    path.write_text(change(path.read_text()))
    assert find_predictions(tmp_path, record) == (
        None,
        "predictions/digits/net-cpu.json is damaged",
    )


def test_missing_and_outdated_predictions(tmp_path):
    record = keep(tmp_path)
    path = tmp_path / predictions_place("digits", "net-cpu")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 0}))
    assert find_predictions(tmp_path, record)[1] == "predictions/digits/net-cpu.json is damaged"
    path.unlink()
    assert find_predictions(tmp_path, record) == (None, "its predictions are not there")
