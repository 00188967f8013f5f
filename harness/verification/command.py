"""What `cli/regenerate_results.py --verify` does: choose records, check them, say what fails."""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import unknown_name
from harness.records import Record, read_records
from harness.verification.checks import Check, Places


def verify(cells: Sequence[str], places: Places) -> int:
    """Print what no longer holds of records, and what could not be found out, a line each.

    Args:
        cells: Records as `<data set>/<name of the file>`; empty: all of them.
        places: Where to look.

    Returns:
        0 when nothing fails, else 1.

    Raises:
        RequestError: A record is unknown or cannot be read.
    """
    from harness.verification.recompute import check_record
    from harness.verification.stated import check_agreement, check_settings

    outcomes: list[bool | None] = []
    for name, record in _choose(cells, read_records(places.results_dir)).items():
        checks = [*check_agreement(record), *check_settings(record, places)]
        if record.status == "ok":
            checks += check_record(record, places)
        _print(name, checks)
        outcomes += [check.holds for check in checks]
    counts = [outcomes.count(outcome) for outcome in (True, False, None)]
    print("in all: {} hold, {} do not, {} not recomputed".format(*counts))
    return int(False in outcomes)


def _choose(cells: Sequence[str], records: Sequence[Record]) -> dict[str, Record]:
    known = {f"{record.dataset}/{record.stem}": record for record in records}
    for cell in cells:
        if cell not in known:
            raise unknown_name("record", cell, known)
    return {cell: known[cell] for cell in dict.fromkeys(cells)} or known


def _print(name: str, checks: Sequence[Check]) -> None:
    held = sum(check.holds is True for check in checks)
    print(f"{name}: {held} of {len(checks)} hold; costs that were timed are not recomputed")
    for check in checks:
        if not check.holds:
            print(f"{name}: {check.field}: {check.text}")
