"""Compile requirements.txt from pyproject.toml, for plain pip; or check that it is up to date."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).resolve().parent.parent

Check = Annotated[bool, typer.Option("--check", help="Change nothing; exit 1 if stale.")]


def main(check: Check = False) -> None:
    """Pin every transitive dependency, with hashes, as of the date in pyproject.toml."""
    target = ROOT / "requirements.txt"
    with tempfile.TemporaryDirectory() as folder:
        # Compiled into an empty file: uv would keep the pins of an existing one.
        fresh = Path(folder) / "requirements.txt"
        command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--quiet"]
        command += ["--universal", "--generate-hashes", "--no-emit-index-url"]
        command += ["--custom-compile-command", "python cli/pin_requirements.py", "-o", str(fresh)]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            sys.exit(1)
        text = fresh.read_text(encoding="utf-8")
    if not check:
        target.write_text(text, encoding="utf-8")
    elif target.read_text(encoding="utf-8") != text:
        print("stale: requirements.txt; run python cli/pin_requirements.py")
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
