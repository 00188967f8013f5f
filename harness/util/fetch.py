"""Fetch files whose digests are known, so that a file under its name is always the right one.

`requests` does the transport and urllib3's `Retry` the waiting. `pooch` neither continues a broken
download nor heeds Retry-After, and `huggingface_hub` speaks to its own hub alone.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import RequestError
from harness.util.files import regular_file
from harness.util.progress import bar

if TYPE_CHECKING:
    from requests import Response, Session

logger = logging.getLogger(__name__)

# Of a connection, and of silence in the middle of a file.
_TIMEOUT_S = 20
_BACKOFF_S = 1.0
_LONGEST_WAIT_S = 60
# The requests for a file that breaks off; each goes on where the one before ended.
_ATTEMPTS = 5
_BUSY = (408, 429, 500, 502, 503, 504)
_CHUNK_BYTES = 1 << 16


class _NotFetchedError(Exception):
    """The reason why a file could not be fetched, in words."""


def fetch(url: str, path: Path, *, digest: str, size: int | None = None) -> None:
    """Bring the file at `url` to `path`, unless the right one is there.

    Processes that want the same file wait for the one that fetches it. A download that breaks off
    stays beside `path` under a hidden name, and the next call goes on with it. A file with another
    digest than `digest`, which `file_digest` describes, is replaced.

    Raises:
        RequestError: The file cannot be had, or has another digest or `size`, in bytes. Nothing is
            at `path` then but what was there before.
    """
    from filelock import FileLock

    if has_digest(path, digest):
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            if not has_digest(path, digest):
                part = path.with_name(f".{path.name}.part")
                _download(url, part, digest, size)
                part.replace(path)
    except _NotFetchedError as error:
        raise RequestError(
            f"{path.name} was not fetched: {error}; or put {url} at {path}"
        ) from None
    except OSError as error:
        raise RequestError(f"{path} cannot be written ({error.strerror or error})") from error


def file_digest(path: Path, like: str) -> str:
    """Return the digest of a file in the form of `like`: "sha256:…", "md5:…" or "git-sha1:…".

    The last is the SHA-1 that git gives the file as a blob.
    """
    kind = like.partition(":")[0]
    digest = hashlib.new("sha1" if kind == "git-sha1" else kind, usedforsecurity=False)
    if kind == "git-sha1":
        digest.update(f"blob {path.stat().st_size}\0".encode())
    with regular_file(path).open("rb") as stream:
        hashlib.file_digest(stream, lambda: digest)
    return f"{kind}:{digest.hexdigest()}"


def has_digest(path: Path, digest: str) -> bool:
    """Return whether a file is there and has this digest."""
    return path.exists() and file_digest(path, digest) == digest


def describe_content(start: bytes) -> str:
    """Return what it is that a host sent in place of a file, by its first bytes; else nothing."""
    text = start[:500].decode("utf-8", "replace").strip()
    if text.startswith("version https://git-lfs"):
        return "a Git LFS pointer, not the file itself (`git lfs pull` gets the file)"
    if re.match(r"<(!doctype html|html)", text, re.IGNORECASE):
        return "a web page, not the file (does the network want a log-in? open the address to see)"
    if "quota" in text.lower() and text.isprintable():
        return f"the host's quota is used up, try again later or ask its owner ({text[:80]}…)"
    return ""


def _download(url: str, part: Path, digest: str, size: int | None) -> None:
    """Fetch a file to `part`, going on with what is there, and verify it."""
    resumed = part.exists()
    with _session() as session:
        _complete(session, url, part, size)
    found, length = file_digest(part, digest), part.stat().st_size
    if found == digest:
        return
    part.unlink()
    if not resumed:
        raise _NotFetchedError(
            f"the host sent another file, of {length} bytes, {found}, not {digest}"
        )
    _download(url, part, digest, size)  # what was there may have been of another file


def _session() -> Session:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    retry = Retry(
        total=_ATTEMPTS - 1,
        connect=1,
        status_forcelist=_BUSY,
        backoff_factor=_BACKOFF_S,
        retry_after_max=_LONGEST_WAIT_S,
        raise_on_status=False,
    )
    session = requests.Session()
    session.max_redirects = 10
    # A compressed transfer could not be continued by range.
    session.headers["Accept-Encoding"] = "identity"
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


def _complete(session: Session, url: str, part: Path, size: int | None) -> None:
    """Fetch what `part` lacks, in several requests where the connection breaks off."""
    import requests

    reason = ""
    for attempt in range(_ATTEMPTS):
        have = part.stat().st_size if part.exists() else 0
        if size is not None and have == size:
            return
        headers = {"Range": f"bytes={have}-"} if have else {}
        try:
            response = session.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S)
        except requests.TooManyRedirects:
            raise _NotFetchedError("the host redirects in a circle") from None
        except requests.RequestException as error:
            raise _NotFetchedError(f"no answer ({_root_cause(error)})") from error
        with response:
            if response.status_code == 416:  # what is there has no rest: it is of another file
                part.unlink(missing_ok=True)
                continue
            try:
                _receive(response, part, have, size)
            except requests.RequestException as error:
                reason = _root_cause(error)
                logger.info("%s: %s", url, reason)
            else:
                return
        time.sleep(min(_BACKOFF_S * 2**attempt, _LONGEST_WAIT_S))
    kept = f", {part.stat().st_size} bytes came and are kept" if part.exists() else ""
    raise _NotFetchedError(
        f"the connection broke off {_ATTEMPTS} times ({reason}){kept}; run again to go on"
    )


def _receive(response: Response, part: Path, have: int, size: int | None) -> None:
    """Write the body of an answer to the end of `part`, or over it where it is the whole file."""
    if response.status_code not in (200, 206):
        raise _NotFetchedError(_describe_refusal(response))
    goes_on = response.status_code == 206
    have = have if goes_on else 0
    chunks = response.iter_content(_CHUNK_BYTES)
    first = next(chunks, b"")
    length = response.headers.get("Content-Length")
    total = have + int(length) if length is not None else size
    if not goes_on and (what := describe_content(first)):
        raise _NotFetchedError(what)
    if size is not None and total != size:
        raise _NotFetchedError(f"the host sends another file, of {total} bytes, not {size}")
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - have > free:
        raise _NotFetchedError(
            f"{(total - have) / 1e6:.1f} MB more are needed in {part.parent}, "
            f"{free / 1e6:.1f} MB are free"
        )
    with (
        part.open("ab" if goes_on else "wb") as file,
        bar(part.name[1:-5], total, "bytes") as report,
    ):
        for chunk in itertools.chain([first], chunks):
            file.write(chunk)
            report(file.tell(), "")


def _describe_refusal(response: Response) -> str:
    """Say what an answer without the file means."""
    import requests

    status = f"{response.status_code} {response.reason}"
    try:
        what = describe_content(next(response.iter_content(500), b""))
    except requests.RequestException:
        what = ""
    if "quota" in what:
        return f"{what} ({status})"
    if response.status_code in (404, 410):
        return f"the host has no such file ({status})"
    if response.status_code in _BUSY:
        wait = response.headers.get("Retry-After")
        after = f", in {wait} seconds as it says" if wait and wait.isdigit() else ""
        return f"the host is busy or down ({status}): try again later{after}"
    return f"the host refuses it ({status})"


def _root_cause(error: BaseException) -> str:
    """Return the words of the error that began a chain."""
    while error.__context__ is not None:
        error = error.__context__
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
