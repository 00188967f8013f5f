"""Fetching from a host that answers well or badly: the right file, or one line and no file."""

import hashlib
import shutil
import threading
import time
from collections import namedtuple

import pytest

from harness.errors import RequestError
from harness.util import fetch as fetching
from harness.util.fetch import fetch, file_digest
from tests import file_host

BODY = bytes(range(256)) * 2000
DIGEST = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
# What is said of each answer that is not the file.
REASONS = {
    "circle": "redirects in a circle",
    "pointer": "a Git LFS pointer, not the file itself",
    "page": "a web page, not the file",
    "missing": r"no such file \(404 Not Found\)",
    "quota": r"quota is used up.*over its data quota.*403 Forbidden",
    "busy": r"busy or down \(429 Too Many Requests\): try again later, in 1 seconds",
    "down": r"busy or down \(503 Service Unavailable\)",
    "short": r"broke off 5 times .*196608 bytes came and are kept",
    "short_chunk": "broke off 5 times",
    "hang_up": "no answer",
    "stall": "broke off 5 times .*timed out",
}


@pytest.fixture
def host(monkeypatch):
    monkeypatch.setattr(fetching, "_TIMEOUT_S", 0.2)
    monkeypatch.setattr(fetching, "_BACKOFF_S", 0.01)
    monkeypatch.setattr(fetching, "_LONGEST_WAIT_S", 0.1)
    with file_host.running() as host:
        host.files["w.pt"] = BODY
        yield host


def left(folder):
    """Return what lies in a folder, but for locks."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_every_answer_is_tested():
    assert set(REASONS) | set(file_host.GOOD) == set(file_host.BEHAVIOURS)


@pytest.mark.parametrize("size", [len(BODY), None])
@pytest.mark.parametrize("behaviour", file_host.GOOD)
def test_a_file_is_fetched_once(host, tmp_path, behaviour, size):
    path = tmp_path / "below" / "w.pt"
    for _ in range(2):
        fetch(f"{host.address(behaviour)}/w.pt", path, digest=DIGEST, size=size)
    assert path.read_bytes() == BODY
    assert left(path.parent) == ["w.pt"]
    assert len(host.requests) == file_host.GOOD.index(behaviour) + 1


@pytest.mark.parametrize("behaviour", REASONS)
def test_a_bad_answer_is_named_and_the_next_run_tries_again(host, tmp_path, behaviour):
    path, url = tmp_path / "w.pt", f"{host.address(behaviour)}/w.pt"
    with pytest.raises(RequestError, match=REASONS[behaviour]) as raised:
        fetch(url, path, digest=DIGEST, size=len(BODY))
    assert f"or put {url} at {path}" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert set(left(tmp_path)) <= {".w.pt.part"}
    fetch(f"{host.address('ok')}/w.pt", path, digest=DIGEST, size=len(BODY))
    assert path.read_bytes() == BODY
    assert left(tmp_path) == ["w.pt"]


@pytest.mark.parametrize("behaviour", ["busy", "down", "hang_up", "short", "short_chunk", "stall"])
def test_a_passing_trouble_is_sat_out(host, tmp_path, behaviour):
    host.recover_after = 2
    fetch(f"{host.address(behaviour)}/w.pt", tmp_path / "w.pt", digest=DIGEST, size=len(BODY))
    assert (tmp_path / "w.pt").read_bytes() == BODY
    assert len(host.requests) == 3


def test_a_broken_download_goes_on_where_it_ended(host, tmp_path):
    host.recover_after = 1
    fetch(f"{host.address('short')}/w.pt", tmp_path / "w.pt", digest=DIGEST)
    assert [wanted for _, wanted in host.requests] == [None, "bytes=196608-"]
    assert (tmp_path / "w.pt").read_bytes() == BODY


def test_retry_after_is_heeded(host, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "_LONGEST_WAIT_S", 60)
    host.recover_after = 1
    start = time.monotonic()
    fetch(f"{host.address('busy')}/w.pt", tmp_path / "w.pt", digest=DIGEST)
    assert time.monotonic() - start >= 1


@pytest.mark.parametrize("start", [b"from another file", BODY[:1000], BODY, BODY + b"more"])
def test_the_rest_of_an_earlier_run_is_used_only_where_it_fits(host, tmp_path, start):
    (tmp_path / ".w.pt.part").write_bytes(start)
    fetch(f"{host.address('ok')}/w.pt", tmp_path / "w.pt", digest=DIGEST, size=len(BODY))
    assert (tmp_path / "w.pt").read_bytes() == BODY
    assert left(tmp_path) == ["w.pt"]


@pytest.mark.parametrize("size", [len(BODY) - 1, None])
def test_another_file_never_gets_the_name(host, tmp_path, size):
    wrong = "sha256:" + "0" * 64
    with pytest.raises(RequestError, match=f"another file, of {len(BODY)} bytes"):
        fetch(f"{host.address('ok')}/w.pt", tmp_path / "w.pt", digest=wrong, size=size)
    assert left(tmp_path) == []


def test_a_wrong_file_is_replaced(host, tmp_path):
    (tmp_path / "w.pt").write_bytes(b"wrong")
    fetch(f"{host.address('ok')}/w.pt", tmp_path / "w.pt", digest=DIGEST)
    assert (tmp_path / "w.pt").read_bytes() == BODY


def test_the_disk_is_looked_at_before(host, tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100_000))
    with pytest.raises(RequestError, match=r"0\.5 MB more are needed in .*, 0\.1 MB are free"):
        fetch(f"{host.address('ok')}/w.pt", tmp_path / "w.pt", digest=DIGEST)
    assert left(tmp_path) == []


def test_a_folder_that_cannot_be_written_to_is_named(host, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match=r"file/w\.pt cannot be written"):
        fetch(f"{host.address('ok')}/w.pt", tmp_path / "file" / "w.pt", digest=DIGEST)


def test_nobody_there_is_said_at_once(tmp_path):
    start = time.monotonic()
    with pytest.raises(RequestError, match=r"no answer \(Connection refused\)"):
        fetch("http://127.0.0.1:9/w.pt", tmp_path / "w.pt", digest=DIGEST)
    assert time.monotonic() - start < 5


def test_two_that_want_a_file_share_the_download(host, tmp_path):
    host.files["w.pt"] = BODY * 20
    digest = f"sha256:{hashlib.sha256(BODY * 20).hexdigest()}"

    def work():
        fetch(f"{host.address('ok')}/w.pt", tmp_path / "w.pt", digest=digest)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(host.requests) == 1
    assert left(tmp_path) == ["w.pt"]


def test_digests_take_the_form_of_the_one_wanted(tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(b"what\n")
    assert file_digest(path, "md5:?") == "md5:" + hashlib.md5(b"what\n").hexdigest()
    blob = hashlib.sha1(b"blob 5\0what\n").hexdigest()
    assert file_digest(path, "git-sha1:?") == "git-sha1:" + blob
