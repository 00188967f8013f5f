"""The version of the code, which must be the same where jobs are made and where they run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from harness.errors import RequestError
from harness.registry import ROOT
from harness.util.checkout import read_git_state

_CODE = ("harness", "datasets", "monolithic_architectures", "trunk", "configs")


@dataclass(frozen=True, kw_only=True)
class Version:
    """The version of a checkout.

    Attributes:
        commit: Its commit; None without git.
        files: SHA-256 of the code and the settings, committed or not.
    """

    commit: str | None
    files: str

    def require_here(self, root: Path = ROOT) -> None:
        """Make sure that this process runs the same version.

        Raises:
            RequestError: It runs another one.
        """
        here = read_version(root)
        if here.commit != self.commit:
            raise RequestError(
                f"submitted from commit {_short(self.commit)}, and {root} is at "
                f"{_short(here.commit)} now: check the first out again, or submit again"
            )
        if here.files != self.files:
            raise RequestError(
                f"code or settings in {root} were changed after this job was submitted: submit "
                "it again"
            )


def _short(commit: str | None) -> str:
    return commit[:12] if commit else "(without git)"


def read_version(root: Path = ROOT) -> Version:
    """Return the version of the code below a folder."""
    digest, own_settings = hashlib.sha256(), root / "configs" / "launch"
    for path in sorted(path for folder in _CODE for path in (root / folder).rglob("*")):
        if path.suffix in (".py", ".yaml", ".csv") and path.parent != own_settings:
            digest.update(f"{path.relative_to(root)}\0".encode())
            digest.update(path.read_bytes())
    return Version(commit=read_git_state(root)[0], files=digest.hexdigest())
