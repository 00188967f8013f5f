"""Weights on disk: what was written is what is read, and anything else is refused."""

import json
import shutil
import subprocess

import pytest
import safetensors.torch
import torch
from torch import nn

from harness.errors import CellError, RequestError
from harness.jobs import Cell, Job
from harness.networks.weights import (
    Sidecar,
    load_state,
    load_weights,
    read_sidecar,
    save_weights,
    trained_weights_path,
)
from harness.settings_spec import Settings
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


def test_another_recipe_or_other_data_is_another_file(tmp_path):
    jobs = [
        Job(
            cell=Cell(dataset="digits", model="net", device="cpu"),
            settings=Settings(seed=seed),
            **dict.fromkeys(("data_dir", "weights_dir", "results_dir"), tmp_path),
            data_file=None,
            offline=True,
            command="",
        )
        for seed in (1, 2)
    ]
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


def test_a_broken_sidecar_is_refused(saved):
    path, _, _ = saved
    path.with_suffix(".json").write_text(json.dumps({"dataset": "digits"}))
    with pytest.raises(RequestError, match="not a sidecar"):
        read_sidecar(path)


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
