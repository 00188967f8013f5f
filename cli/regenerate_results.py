"""Make every table and figure anew from the records, or check that they are up to date."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from harness.errors import CellError, RequestError  # noqa: E402
from harness.report.site import regenerate, stale_files  # noqa: E402

Check = Annotated[bool, typer.Option("--check", help="Change nothing; exit 1 if stale.")]


def main(check: Check = False) -> None:
    """Make results/ and the README's tables from results/records/."""
    try:
        sys.exit(_check() if check else _regenerate())
    except (CellError, RequestError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _check() -> int:
    stale = stale_files(ROOT)
    for path in stale:
        print(f"stale: {path.relative_to(ROOT)}; run python cli/regenerate_results.py")
    return int(bool(stale))


def _regenerate() -> int:
    print(f"{regenerate(ROOT)} records")
    return 0


if __name__ == "__main__":
    typer.run(main)
