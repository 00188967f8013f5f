"""The state of the project's checkout, and what other programs print."""

from __future__ import annotations

import subprocess
from pathlib import Path


def read_git_state(root: Path) -> tuple[str | None, bool | None]:
    """Return the commit of the checkout at `root` and whether files differ from it.

    Both are None without git and if `root` is not the top of a checkout, because the commit of a
    surrounding project would be misleading.
    """
    git = ("git", "-C", str(root))
    found = (command_output(*git, "rev-parse", "--show-toplevel", "HEAD") or "").splitlines()
    if len(found) != 2 or Path(found[0]).resolve() != root.resolve():
        return None, None
    changes = command_output(*git, "status", "--porcelain", "--", ".", ":!results")
    return found[1], None if changes is None else bool(changes.strip())


def command_output(*command: str) -> str | None:
    """Return the output of a command, or None if it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
