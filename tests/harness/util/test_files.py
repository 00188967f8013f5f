"""Files: written whole, and only read where reading cannot wait for ever."""

import os
import socket
import subprocess

import pytest

from harness.errors import CellError, RequestError
from harness.util import files
from harness.util.files import atomic_path, file_sha256, regular_file, write_text


def test_what_a_killed_process_has_left_is_deleted(tmp_path):
    def left(name, pid, host=files._HOST):
        path = tmp_path / f".{name}.{host}-{pid}.tmp"
        path.write_text("half")
        return path

    # No process has a number above 2**22, and ours runs.
    dead, other = left("a[1].txt", 2**30), left("b.txt", 2**30)
    running, elsewhere = left("a[1].txt", os.getppid()), left("a[1].txt", 2**30, "elsewhere")
    write_text(tmp_path / "a[1].txt", "whole")
    assert {*tmp_path.iterdir()} == {tmp_path / "a[1].txt", other, running, elsewhere}
    assert not dead.exists()


def test_a_killed_process_that_nobody_waits_for_has_ended(tmp_path):
    child = subprocess.Popen(["sleep", "3600"])
    left = tmp_path / f".a.{files._HOST}-{child.pid}.tmp"
    left.write_text("half")
    files.delete_abandoned(tmp_path / "a")
    assert left.exists()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    files.delete_abandoned(tmp_path / "a")
    assert not left.exists()
    child.wait()


def test_a_block_that_fails_leaves_what_was_there(tmp_path):
    write_text(tmp_path / "a", "before")

    def fail():
        with atomic_path(tmp_path / "a") as temporary:
            temporary.write_text("half")
            raise OSError(28, "No space")

    with pytest.raises(CellError, match="cannot write .*a: No space"):
        fail()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


def test_files_and_links_to_files_are_opened_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path / "file", "x")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    assert file_sha256(tmp_path / "file") == file_sha256(tmp_path / "link")
    assert regular_file(tmp_path / "absent") == tmp_path / "absent"
    for name, words in {
        "folder": "a folder is there, a file wanted",
        "pipe": "a pipe is there, a file wanted",
        "socket": "a socket is there, a file wanted",
        "/dev/zero": "a device is there, a file wanted",
        "loop": "cannot be read",
        "n" * 300: "cannot be read .File name too long",
    }.items():
        with pytest.raises(RequestError, match=words):
            file_sha256(tmp_path / name)
