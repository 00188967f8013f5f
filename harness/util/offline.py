"""Keep a process from using the network."""

from __future__ import annotations

import os
import urllib.request


def go_offline() -> None:
    """Make every download in this process fail at once, as it would without a network.

    Call this before importing libraries that read HF_HUB_OFFLINE.
    """

    class Refuse(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
        def http_open(self, req: urllib.request.Request) -> object:  # type: ignore[override]
            raise OSError(f"--offline: not fetching {req.full_url}")

        https_open = http_open  # type: ignore[assignment]

    os.environ["HF_HUB_OFFLINE"] = "1"
    urllib.request.install_opener(urllib.request.build_opener(Refuse))
