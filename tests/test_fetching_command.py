"""The command against a file host that answers well or badly, for weights and for every archive."""

import csv
import hashlib
import io
import shutil

import numpy as np
import pytest
import torch

from harness.catalog import load_model
from harness.networks.published import REPOSITORY_URL
from harness.registry import ROOT, load_dataset
from tests import archives, file_host
from tests.commands import copy_project, run

TIMES = {"_TIMEOUT_S = 20": "0.2", "_BACKOFF_S = 1.0": "0.01", "_LONGEST_WAIT_S = 60": "0.1"}
REASONS = {
    "circle": "redirects in a circle",
    "pointer": "a Git LFS pointer, not the file itself",
    "page": "a web page, not the file",
    "missing": "the host has no such file (404 Not Found)",
    "quota": "the host's quota is used up",
    "busy": "the host is busy or down (429 Too Many Requests): try again later",
    "down": "the host is busy or down (503 Service Unavailable): try again later",
    "short": "the connection broke off 5 times",
    "short_chunk": "the connection broke off 5 times",
    "hang_up": "no answer",
    "stall": "the connection broke off 5 times",
}


def rewrite(path, changes):
    """Replace the values of assignments in a source file."""
    text = path.read_text()
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, f"{old.partition(' = ')[0]} = {new}")
    path.write_text(text)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    copy = tmp_path_factory.mktemp("project")
    copy_project(copy)
    rewrite(copy / "harness/util/fetch.py", TIMES)
    return copy


@pytest.fixture(scope="module")
def host():
    with file_host.running() as host:
        yield host


def left(folder):
    """Return the names of the files below a folder, but for beginnings that are to be continued."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.name for path in files if path.suffix not in (".part", ".lock"))


def assert_refused(done, behaviour, code=2):
    """Check that a command has ended with one line on what the host has answered."""
    assert done.returncode == code, done.stderr
    assert REASONS[behaviour] in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", archives.NAMES)
@pytest.mark.parametrize("behaviour", file_host.BEHAVIOURS)
def test_a_data_set(project, host, tmp_path, name, behaviour):
    splits = archives.small_splits(name)
    files = archives.official_files(name, splits)
    host.files.update(files)
    source = ROOT / "datasets" / f"{name}.py"
    code = archives.stand_in(name, splits, host.address(behaviour))
    (project / "datasets" / source.name).write_text(source.read_text() + code)
    command = ("comparisons.py", "--dataset", name, "--model", "mobilenet", "--weights", "random")
    done = run(project, *command, "--plan", "--data-dir", tmp_path / "data")
    if behaviour in file_host.GOOD:
        assert done.returncode == 0, done.stderr
        assert "random weights" in done.stdout
        assert set(files) <= set(left(tmp_path))
    else:
        assert_refused(done, behaviour)
        assert done.stderr.count("\n") == 1, done.stderr
        assert left(tmp_path) == []


@pytest.fixture(scope="module")
def published(project, host):
    """Have the project take the file `w.pt` of the host for MobileNet's weights for CIFAR-10."""
    network = load_model("mobilenet").build(10, 3, False)
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    host.files["w.pt"] = buffer.getvalue()
    table = project / "configs/published/weights.csv"
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if (row["dataset"], row["model"]) == ("cifar10", "mobilenet"):
            digest = hashlib.sha256(buffer.getvalue()).hexdigest()
            row |= {"digest": digest, "bytes": len(buffer.getvalue()), "path": "w.pt"}
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    images = project / "given.npz"
    splits = archives.small_splits("cifar10")
    classes = np.array(load_dataset("cifar10").classes)
    np.savez(images, **vars(splits), classes=classes)
    return images


@pytest.mark.parametrize("behaviour", file_host.BEHAVIOURS)
def test_published_weights(project, host, published, tmp_path, behaviour):
    source = ROOT / "harness/networks/published.py"
    copy = project / "harness/networks/published.py"
    shutil.copy(source, copy)
    rewrite(copy, {f'REPOSITORY_URL = "{REPOSITORY_URL}"': repr(host.address(behaviour))})
    command = ("comparisons.py", "--dataset", "cifar10", "--data-file", published)
    command += ("--model", "mobilenet", "--weights", "published", "--set", "image_size=32")
    # Only a process without other threads can be forked safely.
    command += ("--threads", "1")
    command += ("--set", "measurement.latency_seconds=0.1")
    command += ("--set", "measurement.throughput_seconds=0.1")
    command += ("--set", "measurement.throughput_batch_sizes=[1]")
    places = ("--weights-dir", tmp_path / "weights", "--results-dir", tmp_path / "results")
    done = run(project, *command, *places)
    if behaviour in file_host.GOOD:
        assert done.returncode == 0, done.stderr
        assert left(tmp_path / "weights") == ["w.pt"]
    else:
        assert_refused(done, behaviour)
        assert left(tmp_path) == []
