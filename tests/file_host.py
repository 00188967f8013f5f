"""A file host on the loopback that answers well or badly, as the first part of a path says.

`<address>/<behaviour>/<file>` is answered for a file of `FileHost.files` as `BEHAVIOURS` describes.
"""

import contextlib
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BEHAVIOURS = {
    "ok": "the file, or the range that is asked for",
    "redirect": "a redirection to the file",
    "circle": "a redirection to itself",
    "pointer": "a Git LFS pointer in the file's place",
    "page": "a web page, with status 200",
    "missing": "404",
    "quota": "403, with a text on a used-up quota",
    "busy": "429 with Retry-After",
    "down": "503",
    "short": "half of what Content-Length promises",
    "short_chunk": "a chunk that breaks off",
    "hang_up": "the connection is closed without an answer",
    "stall": "some bytes, then nothing",
}
GOOD = ("ok", "redirect")
PAGE = b"<!DOCTYPE html><html><body>Log in to this network</body></html>"
QUOTA = b"This repository is over its data quota. Purchase more data packs."


class FileHost:
    """A running host.

    Attributes:
        files: The contents by name.
        requests: The path and the Range header of each request so far.
        recover_after: How many requests for a file are answered badly before all are answered well.
    """

    def __init__(self):
        self.files = {}
        self.requests = []
        self.recover_after = None
        self.closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("H", (_Handler,), {"host": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def address(self, behaviour):
        """Return the address below which all files are answered in this way."""
        assert behaviour in BEHAVIOURS
        return f"http://127.0.0.1:{self._server.server_port}/{behaviour}"

    def close(self):
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def running():
    """Run a host while the block runs."""
    host = FileHost()
    try:
        yield host
    finally:
        host.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    host = None

    def log_message(self, *_):
        """Print nothing."""

    def do_GET(self):
        _, behaviour, name = self.path.split("/", 2)
        self.host.requests.append((self.path, self.headers.get("Range")))
        recover_after = self.host.recover_after
        if recover_after is not None and len(self.host.requests) > recover_after:
            behaviour = "ok"
        with contextlib.suppress(ConnectionError):
            getattr(self, behaviour)(self.host.files[name.rpartition("/")[2]])

    def do_HEAD(self):
        """Answer as the Hugging Face hub does, unless the host is out of order altogether."""
        _, behaviour, name = self.path.split("/", 2)
        if behaviour in ("missing", "quota", "busy", "down", "hang_up", "circle", "page"):
            self.do_GET()
        else:
            body = self.host.files[name.rpartition("/")[2]]
            etag = hashlib.sha256(body).hexdigest()
            self.reply(200, b"", length=len(body), ETag=f'"{etag}"', X_Repo_Commit="0" * 40)

    def reply(self, status, body, *, length=None, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def ok(self, body):
        wanted = self.headers.get("Range")
        if wanted is None:
            return self.reply(200, body)
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(body):
            return self.reply(416, b"", Content_Range=f"bytes */{len(body)}")
        place = f"bytes {start}-{len(body) - 1}/{len(body)}"
        return self.reply(206, body[start:], Content_Range=place)

    def redirect(self, _):
        self.reply(302, b"", Location=self.path.replace("/redirect/", "/ok/"))

    def circle(self, _):
        self.reply(302, b"", Location=self.path)

    def pointer(self, body):
        oid = hashlib.sha256(body).hexdigest()
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(body)}\n"
        self.reply(200, text.encode(), Content_Type="text/plain")

    def page(self, _):
        self.reply(200, PAGE, Content_Type="text/html")

    def missing(self, _):
        self.reply(404, PAGE, Content_Type="text/html")

    def quota(self, _):
        self.reply(403, QUOTA, Content_Type="text/plain")

    def busy(self, _):
        self.reply(429, b"slow down", Retry_After="1")

    def down(self, _):
        self.reply(503, b"maintenance")

    def short(self, body):
        self.close_connection = True
        self.reply(200, body[: len(body) // 2], length=len(body))

    def short_chunk(self, body):
        self.close_connection = True
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        half = len(body) // 2
        self.wfile.write(b"%x\r\n%b\r\n%x\r\n" % (half, body[:half], len(body) - half))

    def hang_up(self, _):
        self.close_connection = True

    def stall(self, body):
        self.close_connection = True
        self.reply(200, body[: len(body) // 2], length=len(body))
        self.wfile.flush()
        self.host.closing.wait(60)
