"""The version of the code, which must be the same where jobs are made and where they run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from harness.errors import RequestError
from harness.registry import ROOT
from harness.util.checkout import read_git_state

_CODE = ("harness", "datasets", "monolithic_architectures", "trunk", "configs")


@dataclass(frozen=True, kw_only=True)
class Version:
    """The version of a checkout: its commit (None without git), and a digest of its files."""

    commit: str | None
    files: str

    def require_here(self) -> None:
        """Raise a RequestError where this process runs another version."""
        here = read_version()
        if here.commit != self.commit:
            submitted, now = (
                each[:12] if each else "(without git)" for each in (self.commit, here.commit)
            )
            raise RequestError(
                f"submitted from commit {submitted}, and {ROOT} is at {now} now: check the first "
                "out again, or submit again"
            )
        if here.files != self.files:
            raise RequestError(
                f"code or settings in {ROOT} were changed after this job was submitted: submit "
                "it again"
            )


def read_version() -> Version:
    """Return the version of the code of this project."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in _CODE for path in (ROOT / folder).rglob("*")):
        # The settings of clusters change no result.
        own = path.parent == ROOT / "configs" / "launch"
        if path.suffix in (".py", ".yaml", ".csv") and not own:
            digest.update(f"{path.relative_to(ROOT)}\0".encode())
            digest.update(path.read_bytes())
    return Version(commit=read_git_state(ROOT)[0], files=digest.hexdigest())
