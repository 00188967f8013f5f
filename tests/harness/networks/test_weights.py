"""Weights on disk: what was written is what is read, and anything else is refused."""

import dataclasses
import json
import os
import resource
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from harness.errors import CellError, RequestError
from harness.jobs import Cell, Job
from harness.networks.weights import Sidecar, load_state, load_weights, read_sidecar, save_weights
from harness.networks.weights_files import trained_weights_path
from harness.settings import recipe_hash
from harness.settings_spec import Settings, TrainingSettings
from harness.training.checkpoints import save_checkpoint
from harness.util.files import write_text


def make_network(classes=3):
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, classes))


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "digits" / "net-01234567.safetensors"
    network = make_network()
    sidecar = Sidecar(
        dataset="digits",
        model="net",
        num_classes=3,
        image_size=8,
        recipe_hash="r",
        data_sha256="d",
        start="random",
        seed=1,
        threads=2,
        device="cpu",
        training_seconds=1.5,
        logs=[
            {"epoch": 1, "loss": 0.5, "accuracy": 0.9, "learning_rate": 1e-3, "seconds": 1.5},
        ],
        settings={"epochs": 1, "precision": "fp32"},
    )
    return path, network, save_weights(path, network, sidecar)


def test_what_is_read_is_what_was_written(saved):
    path, network, sidecar = saved
    other = make_network()
    load_weights(path, other, read_sidecar(path))
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in network.state_dict().items())
    assert read_sidecar(path) == sidecar
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "net-01234567.json",
        "net-01234567.safetensors",
    ]


def test_what_a_kill_leaves_is_deleted_by_the_next_writing(saved):
    path, network, sidecar = saved
    child = os.fork()
    if not child:
        # The kernel ends the process in the middle of the file.
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        save_weights(path, network, sidecar)
    assert os.waitpid(child, 0)[1] & 0x7F == signal.SIGXFSZ
    assert len(list(path.parent.iterdir())) == 3
    save_weights(path, network, sidecar)
    assert len(list(path.parent.iterdir())) == 2


def test_another_recipe_or_other_data_is_another_file(tmp_path):
    jobs = [make_job(tmp_path, seed) for seed in (1, 2)]
    assert len({trained_weights_path(job, data) for job in jobs for data in "xy"}) == 4


def test_missing_files_are_no_weights(saved):
    path, _, _ = saved
    path.with_suffix(".json").unlink()
    assert read_sidecar(path) is None


def test_a_changed_file_is_refused(saved):
    path, network, sidecar = saved
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(RequestError, match="SHA-256 is not the one"):
        load_weights(path, network, sidecar)


SPOILED = {
    "no object": lambda text: "[1]",
    "a missing field": lambda text: '{"dataset": "digits"}',
    "another type": lambda text: text.replace('"num_classes": 3', '"num_classes": "3"'),
    "no class": lambda text: text.replace('"num_classes": 3', '"num_classes": 0'),
    "logs of no epoch": lambda text: text.replace('"epoch": 1,', ""),
    "logs that are no list": lambda text: json.dumps(json.loads(text) | {"logs": {"a": 1}}),
    "a foreign field": lambda text: json.dumps(json.loads(text) | {"colour": "red"}),
    "a compression of nothing": lambda text: json.dumps(json.loads(text) | {"compression": {}}),
    "NaN": lambda text: text.replace('"training_seconds": 1.5', '"training_seconds": NaN'),
    "too deep": lambda text: text.replace('"settings": {', '"settings": {"x": ' + "[" * 9999),
    "other bytes": lambda text: text.encode("utf-16"),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_a_sidecar_that_is_broken_inside_is_refused(saved, spoil):
    path = saved[0].with_suffix(".json")
    spoiled = spoil(path.read_text())
    path.write_bytes(spoiled if isinstance(spoiled, bytes) else spoiled.encode())
    with pytest.raises(RequestError, match="net-01234567.json: not a sidecar of weights") as caught:
        read_sidecar(saved[0])
    assert "delete both files" in str(caught.value)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
@pytest.mark.parametrize(("make", "word"), [(os.mkfifo, "a pipe"), (Path.mkdir, "a folder")])
def test_what_is_no_file_is_named_and_not_waited_for(saved, suffix, make, word):
    path = saved[0].with_suffix(suffix)
    path.unlink()
    make(path)
    with pytest.raises(RequestError, match=f"net-01234567{suffix}: {word} is there, a file"):
        read_sidecar(saved[0])
    if suffix == ".safetensors":
        with pytest.raises(RequestError, match=f"{word} is there"):
            load_weights(saved[0], make_network(), saved[2])


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_numbers_of_another_type_are_refused(kind):
    state = make_network().state_dict()
    state["2.weight"] = state["2.weight"].to(kind)
    with pytest.raises(RequestError, match=f"2.weight is {kind}, this network wants torch.float32"):
        load_state(make_network(), state, "file")
    state = make_network().state_dict()
    state["1.num_batches_tracked"] = torch.tensor(True)
    with pytest.raises(RequestError, match=r"num_batches_tracked is torch.bool.*wants torch.int64"):
        load_state(make_network(), state, "file")


def make_job(folder, seed=1):
    return Job(
        cell=Cell(dataset="digits", model="net", device="cpu"),
        settings=Settings(image_size=8, seed=seed, training=TrainingSettings(start="random")),
        **dict.fromkeys(("data_dir", "weights_dir", "results_dir"), folder),
        data_file=None,
        offline=True,
        command="",
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dataset", "emnist"),
        ("model", "other"),
        ("data_sha256", "e"),
        ("seed", 2),
        ("image_size", 16),
        ("recipe_hash", "r"),
    ],
)
def test_a_pair_of_files_that_belongs_to_another_cell_is_refused(saved, tmp_path, field, value):
    job = make_job(tmp_path)
    right = {"recipe_hash": recipe_hash(job.settings), "data_sha256": "d"}
    path = trained_weights_path(job, "d")
    save_weights(path, saved[1], dataclasses.replace(saved[2], **right))
    assert trained_weights_path(job, "d") == path
    save_weights(path, saved[1], dataclasses.replace(saved[2], **right | {field: value}))
    with pytest.raises(RequestError, match=f"{path.stem}.json: {field} is {value}, .* wanted: not"):
        trained_weights_path(job, "d")


def test_weights_of_another_network_are_refused():
    state = make_network(classes=3).state_dict()
    with pytest.raises(RequestError, match=r"2.weight has shape \(3, 8\).*wants \(5, 8\)"):
        load_state(make_network(classes=5), state, "file")
    with pytest.raises(RequestError, match="lacks 1.weight .5 missing, 0 foreign"):
        load_state(make_network(), {k: v for k, v in state.items() if k[0] != "1"}, "file")
    with pytest.raises(RequestError, match="has extra, which is foreign"):
        load_state(make_network(), state | {"extra": torch.zeros(1)}, "file")


def test_counters_of_thop_are_not_saved(saved, tmp_path):
    _, network, sidecar = saved
    network.register_buffer("total_ops", torch.zeros(1))
    path = tmp_path / "n.safetensors"
    save_weights(path, network, sidecar)
    assert "total_ops" not in safetensors.torch.load_file(path)


@pytest.fixture
def full_disk(tmp_path):
    """A file system of 64 kB, where the test may mount one."""
    folder = tmp_path / "full"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_line_and_leaves_nothing(full_disk, saved):
    _, _, sidecar = saved
    big = nn.Linear(400, 400)
    with pytest.raises(CellError, match="cannot write .*n.safetensors.*(space|No space)"):
        save_weights(full_disk / "n.safetensors", big, sidecar)
    with pytest.raises(CellError, match="cannot write .*c.checkpoint"):
        save_checkpoint(full_disk / "c.checkpoint", {"network": big.state_dict()})
    with pytest.raises(CellError, match="cannot write .*No space"):
        write_text(full_disk / "t", "x" * 100_000)
    assert list(full_disk.iterdir()) == []
