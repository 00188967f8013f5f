"""Verification of chosen records, as `cli/regenerate_results.py --verify` does it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.errors import unknown_name
from harness.records.cell import CELLS, Record
from harness.records.cost import COSTS, CostRecord
from harness.records.material import Material, read_material
from harness.verification.checks import Check, Places


def verify(names: Sequence[str], places: Places) -> int:
    """Print a line for each field of records that is wrong or could not be recomputed.

    Records are named as in the addresses of the page, `<data set>/<name of the file>` or `costs/…`;
    no names: all. Return 0 if nothing fails, else 1; a file that is no record fails.
    """
    material = read_material(places.results_dir)
    outcomes: list[bool | None] = [False for _ in material.broken]
    print(*(f"{line}\n" for line in material.broken), sep="", end="")
    for name, record in _choose(names, material, places.results_dir).items():
        checks = _check(record, places)
        print(f"{name}: {sum(check.holds is True for check in checks)} of {len(checks)} hold")
        for check in checks:
            if not check.holds:
                print(f"{name}: {check.field}: {check.text}")
        outcomes += [check.holds for check in checks]
    hold, fail, unknown = (outcomes.count(outcome) for outcome in (True, False, None))
    print(
        f"in all: {hold} hold, {fail} do not, {unknown} not recomputed; "
        "what was timed is no part of it"
    )
    return int(False in outcomes)


def _choose(
    names: Sequence[str], material: Material, results: Path
) -> dict[str, Record | CostRecord]:
    known: dict[str, Record | CostRecord] = {
        **{CELLS.address(record): record for record in material.records},
        **{COSTS.address(cost): cost for cost in material.costs},
    }
    for name in names:
        file = f"{name if name.startswith('costs/') else f'records/{name}'}.json"
        broken = any(line.startswith(f"{results / file}: ") for line in material.broken)
        if name not in known and not broken:
            raise unknown_name("record", name, known)
    return {name: known[name] for name in names or known if name in known}


def _check(record: Record | CostRecord, places: Places) -> list[Check]:
    from harness.verification.counts import check_costs
    from harness.verification.recompute import check_record
    from harness.verification.stated import check_agreement, check_predictions, check_settings

    if isinstance(record, CostRecord):
        return check_costs(record, places)
    return [
        *check_agreement(record),
        *check_predictions(record, places),
        *check_settings(record, places),
        *(check_record(record, places) if record.status == "ok" else ()),
    ]
