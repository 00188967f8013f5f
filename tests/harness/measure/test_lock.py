"""Turns on a device: processes that wait for each other, in a folder of the tests' own."""

import logging
import os
import select
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from harness.measure.lock import device_lock, lock_path

ROOT = Path(__file__).resolve().parents[3]
# Says each step on its standard output; lets go when its standard input closes.
CHILD = """
import logging, sys
from harness.measure.lock import device_lock
logging.basicConfig(stream=sys.stdout, format="log: %(message)s")
with device_lock(sys.argv[1], sys.argv[2]):
    print("in", flush=True)
    sys.stdin.read()
print("out", flush=True)
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    # Whatever is really measured on this machine meanwhile is not waited for.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.fixture
def start():
    """Return what starts a process that wants a device, and says so."""
    children = []

    def start(device, purpose):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, device, purpose],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # so that `quiet` looks at all that has come
        )
        children.append(child)
        return child

    yield start
    for child in children:
        child.stdin.close()
        child.stdout.close()
        child.kill()
        child.wait()


def line(child):
    return child.stdout.readline().decode().rstrip("\n")


def quiet(child):
    """Whether a process says nothing for some of filelock's looks at the lock."""
    return not select.select([child.stdout], [], [], 0.2)[0]


def let_go(child):
    child.stdin.close()
    assert line(child) == "out"


def test_the_second_waits_for_the_first_and_says_so(start):
    first = start("cpu", "digits/vgg-cpu")
    assert line(first) == "in"
    second = start("cpu", "digits/vit-cpu")
    assert line(second) == (
        f"log: digits/vit-cpu: waits for digits/vgg-cpu (process {first.pid}), "
        "which measures on cpu"
    )
    assert quiet(second)
    let_go(first)
    assert line(second) == "in"
    third = start("cpu", "third")
    assert f"waits for digits/vit-cpu (process {second.pid})" in line(third)
    let_go(second)
    assert line(third) == "in"


def test_the_note_is_of_who_is_in(start):
    note = lock_path("cpu").with_suffix(".holder")
    with device_lock("cpu", "this test"):
        second = start("cpu", "b")
        assert f"waits for this test (process {os.getpid()})" in line(second)
        assert quiet(second)
        assert note.read_text() == f"this test (process {os.getpid()})"
    assert line(second) == "in"
    assert note.read_text() == f"b (process {second.pid})"


def test_a_killed_holder_lets_go(start):
    first = start("cpu", "a")
    assert line(first) == "in"
    second = start("cpu", "b")
    assert "waits for a (process" in line(second)
    assert quiet(second)
    first.send_signal(signal.SIGKILL)
    assert line(second) == "in"


def test_a_dead_holders_note_makes_nobody_wait(start):
    first = start("cpu", "a")
    assert line(first) == "in"
    first.kill()
    first.wait()
    second = start("cpu", "b")
    assert line(second) == "in"


def test_devices_do_not_wait_for_each_other(start, monkeypatch):
    uuids = {"cuda": "a", "cuda:1": "b"}
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=uuids[device])
    )
    with device_lock("cuda", "a"), device_lock("cuda:1", "a"):
        assert line(start("cpu", "a")) == "in"
    # The same GPU may have another number in another process.
    uuids["cuda:1"] = "a"
    assert lock_path("cuda") == lock_path("cuda:1")


def test_an_error_lets_go(start):
    with pytest.raises(ZeroDivisionError), device_lock("cpu", "a"):
        raise ZeroDivisionError
    assert line(start("cpu", "b")) == "in"


def test_nobody_to_wait_for_is_nothing_to_say(caplog, tmp_path):
    caplog.set_level(logging.DEBUG, "harness")
    for _ in range(2):
        with device_lock("cpu", "a"):
            assert lock_path("cpu").parent == tmp_path
            note = (tmp_path / "modelcomparisons-cpu.holder").read_text()
            assert note == f"a (process {os.getpid()})"
    assert (tmp_path / "modelcomparisons-cpu.holder").read_text() == ""
    assert caplog.messages == []


def test_everybody_may_wait_for_everybody():
    before = os.umask(0o077)
    try:
        with device_lock("cpu", "a"):
            assert stat.S_IMODE(lock_path("cpu").stat().st_mode) == 0o666
    finally:
        os.umask(before)


def test_a_note_that_cannot_be_written_or_read_is_no_reason_to_fail(start, tmp_path):
    (tmp_path / "modelcomparisons-cpu.holder").mkdir()
    with device_lock("cpu", "a"):
        second = start("cpu", "b")
        assert line(second) == "log: b: waits for another process, which measures on cpu"
    assert line(second) == "in"
