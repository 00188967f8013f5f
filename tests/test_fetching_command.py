"""The command against a file host that answers well or badly, for weights and for every archive.

`test_fetch` has every answer for `fetch` itself, which the command calls in a child for weights.
"""

import csv
import hashlib
import io
import shutil
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, SVHN

from harness import commands
from harness.catalog import load_model
from harness.networks.published import REPOSITORY_URL
from harness.registry import ROOT, load_dataset
from harness.util import fetch
from tests import archives, file_host
from tests.commands import BRIEF, copy_project, run
from tests.refusals import make_request

TIMES = {"_TIMEOUT_S = 20": 0.2, "_BACKOFF_S = 1.0": 0.01, "_LONGEST_WAIT_S = 60": 0.1}
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


def assert_refused(code, error, behaviour):
    """Check that a command has ended with one line on what the host has answered."""
    assert code == 2, error
    assert REASONS[behaviour] in error
    assert error.count("\n") == 1, error


@pytest.fixture
def stand_in(monkeypatch):
    """Return a function that adds code to a data set's file, in this process alone."""
    for name, value in TIMES.items():
        monkeypatch.setattr(fetch, name.partition(" = ")[0], value)
    for name in ("tgz_md5", "train_list", "test_list", "meta"):
        monkeypatch.setattr(CIFAR10, name, getattr(CIFAR10, name))
    monkeypatch.setattr(SVHN, "split_list", SVHN.split_list)

    def stand_in(name, code):
        path = ROOT / "datasets" / f"{name}.py"
        module = ModuleType(f"datasets.{name}")
        module.__file__ = str(path)
        exec(path.read_text() + code, vars(module))
        monkeypatch.setitem(sys.modules, module.__name__, module)

    return stand_in


def publish(host, name, behaviour):
    """Have the host serve small images as a data set; return its files and the code for them."""
    splits = archives.small_splits(name)
    files = archives.official_files(name, splits)
    host.files.update(files)
    return set(files), archives.stand_in(name, splits, host.address(behaviour))


@pytest.mark.parametrize("name", archives.NAMES)
@pytest.mark.parametrize("behaviour", file_host.BEHAVIOURS)
def test_a_data_set(capsys, stand_in, host, tmp_path, name, behaviour):
    files, code = publish(host, name, behaviour)
    stand_in(name, code)
    asked = {"datasets": [name], "models": ["mobilenet"], "assignments": ["image_size=32"]}
    request = make_request(tmp_path, **asked, overrides={"weights": "random"}, offline=False)
    done, (told, error) = commands.carry_out(request, plan=True), capsys.readouterr()
    if behaviour in file_host.GOOD:
        assert done == 0, error
        assert "random weights" in told
        assert files <= set(left(tmp_path))
    else:
        assert_refused(done, error, behaviour)
        assert left(tmp_path) == []


@pytest.mark.parametrize(("name", "behaviour"), [("cifar10", "redirect"), ("svhn", "missing")])
def test_a_data_set_by_a_whole_command(project, host, tmp_path, name, behaviour):
    files, code = publish(host, name, behaviour)
    source = ROOT / "datasets" / f"{name}.py"
    (project / "datasets" / source.name).write_text(source.read_text() + code)
    command = ("comparisons.py", "--dataset", name, "--model", "mobilenet", "--weights", "random")
    done = run(project, *command, "--plan", "--data-dir", tmp_path / "data")
    if behaviour in file_host.GOOD:
        assert done.returncode == 0, done.stderr
        assert files <= set(left(tmp_path))
    else:
        assert_refused(done.returncode, done.stderr, behaviour)
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


# Of each kind one: good, a wrong content, a wrong status, a connection that breaks off. The others,
# with `-m slow`, take about ten seconds each.
IN_THE_SUITE = ("redirect", "pointer", "down", "stall")


@pytest.mark.parametrize(
    "behaviour",
    [
        name if name in IN_THE_SUITE else pytest.param(name, marks=pytest.mark.slow)
        for name in file_host.BEHAVIOURS
    ],
)
def test_published_weights(project, host, published, tmp_path, behaviour):
    source = ROOT / "harness/networks/published.py"
    copy = project / "harness/networks/published.py"
    shutil.copy(source, copy)
    rewrite(copy, {f'REPOSITORY_URL = "{REPOSITORY_URL}"': repr(host.address(behaviour))})
    command = ("comparisons.py", "--dataset", "cifar10", "--data-file", published)
    command += ("--model", "mobilenet", "--weights", "published", "--set", "image_size=32")
    # Only a process without other threads can be forked safely.
    command += ("--threads", "1", *BRIEF)
    places = ("--weights-dir", tmp_path / "weights", "--results-dir", tmp_path / "results")
    done = run(project, *command, *places)
    if behaviour in file_host.GOOD:
        assert done.returncode == 0, done.stderr
        assert left(tmp_path / "weights") == ["w.pt"]
    else:
        assert done.returncode == 2, done.stderr
        assert REASONS[behaviour] in done.stderr
        assert "Traceback" not in done.stderr
        assert left(tmp_path) == []
