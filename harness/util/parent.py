"""The end of a child process with its parent's."""

from __future__ import annotations

import os
import sys
import threading


def end_with_parent() -> None:
    """End this process when standard input closes, because then the parent is gone."""

    def watch() -> None:
        # The file descriptor itself, because a lock on sys.stdin would block the shutdown.
        while os.read(sys.stdin.fileno(), 4096):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
