"""Make every table, figure and the page anew from the records, or check what is there.

    python cli/regenerate_results.py                      # make anew what is out of date
    python cli/regenerate_results.py --check              # is anything out of date?
    python cli/regenerate_results.py --verify             # do the records still hold?
    python cli/regenerate_results.py --verify digits/resnet-cpu costs/emnist/vgg-224

--check and --verify change nothing. A file that is no record is named, the others are shown, and
the exit code is 1.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cli.options import read_command
from harness.errors import CellError, RequestError, print_error
from harness.records.material import read_material
from harness.records.publishing import publish_records
from harness.report.site import regenerate, stale_files
from harness.util.files import absolute
from harness.verification.checks import Places

Check = Annotated[bool, Option("--check", help="Change nothing; exit 1 if stale.")]
Verify = Annotated[
    bool,
    Option("--verify", help="Recompute what records say, where it can be; exit 1 if it differs."),
]
Publish = Annotated[
    bool,
    Option("--publish", help="Copy own records into results/, in place of those that are there."),
]
Names = Annotated[
    list[str] | None,
    Argument(
        metavar="[RECORD]...", help="With --verify or --publish: digits/resnet-cpu; all by default."
    ),
]
DataDir = Annotated[Path, Option(help="With --verify: folder of the official images.")]
DataFile = Annotated[
    list[Path] | None,
    Option(help="With --verify: images that stood in for them, by the name in the record."),
]
WeightsDir = Annotated[Path, Option(help="With --verify: folder of weights.")]
PublishedDir = Annotated[
    Path | None, Option(help="With --verify: folder that has the published weights.")
]


def main(
    records: Names = None,
    check: Check = False,
    verify: Verify = False,
    publish: Publish = False,
    data_dir: DataDir = ROOT / "data",
    data_file: DataFile = None,
    weights_dir: WeightsDir = ROOT / "weights",
    published_dir: PublishedDir = None,
) -> None:
    """Make results/ and the README's tables from results/records/."""
    places = Places(
        read_command=read_command,
        data_dir=data_dir.absolute(),
        data_files=tuple(map(absolute, data_file or ())),
        weights_dir=weights_dir.absolute(),
        published_dir=published_dir.absolute() if published_dir else None,
        results_dir=ROOT / "results",
    )
    try:
        sys.exit(_run(check, verify, publish, records or [], places))
    except (CellError, RequestError, OSError) as error:
        print_error(error)
        sys.exit(2)


def _run(check: bool, verify: bool, publish: bool, names: list[str], places: Places) -> int:
    if check + verify + publish > 1:
        raise RequestError("--check, --verify and --publish: one at a time")
    if names and not (verify or publish):
        raise RequestError(f"'{names[0]}': records are named with --verify or --publish alone")
    if publish:
        for path in publish_records(ROOT / "results" / "own", ROOT / "results", names):
            print(f"{path.relative_to(ROOT)} published")
    if verify:
        from harness.verification.command import verify as verify_records

        return verify_records(names, places)
    stale = []
    if check:
        stale = stale_files(ROOT)
        for path in stale:
            print(f"stale: {path.relative_to(ROOT)}; run python cli/regenerate_results.py")
    else:
        print(f"{regenerate(ROOT)} records")
    broken = read_material(ROOT / "results").broken
    for line in broken:
        print(f"error: {line}", file=sys.stderr)
    return int(bool(stale or broken))


if __name__ == "__main__":
    typer.run(main)
