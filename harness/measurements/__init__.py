"""The measurements of `--measure`, one file each, all with the same contract.

To add a measurement, add its file and its entry below: see CONTRIBUTING.md.
"""

from __future__ import annotations

from typing import Any

from harness.measurements.cell import WholeCell
from harness.measurements.contract import Measurement
from harness.measurements.cost import CountedCosts
from harness.measurements.latency import LatencySideBySide
from harness.measurements.tuning import Tuning

MEASUREMENTS: dict[str, Measurement[Any, Any]] = {
    each.name: each for each in (WholeCell(), LatencySideBySide(), CountedCosts(), Tuning())
}
