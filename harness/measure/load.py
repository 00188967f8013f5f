"""Load of the machine by other processes during a measurement."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

# A quiet machine stays near 1%. At 5%, times change by as much as the differences of interest.
BUSY_OTHERS_SHARE = 0.05
BUSY_STOLEN_SHARE = 0.05


@dataclass(frozen=True, kw_only=True)
class Load:
    """The load during a measurement, as shares of the time of all cores; None if unknown.

    Attributes:
        load_average_before: Mean number of runnable processes in the minute before.
        load_average_after: The same at the end, this process included.
        others_share: Share of other processes: all but this one and its children that have ended.
        stolen_share: Share that the hypervisor gave to other virtual machines.
    """

    load_average_before: float | None
    load_average_after: float | None
    others_share: float | None
    stolen_share: float | None

    @property
    def busy(self) -> bool:
        """Whether a known share is large enough to disturb times."""
        return bool(self._large_shares())

    def describe(self) -> str:
        """Return the load in one line."""
        if large := self._large_shares():
            return " and ".join(large)
        if self.others_share is None:
            return "the system does not tell what else ran"
        return f"other processes took no more than {self.others_share:.0%} of the CPU"

    def _large_shares(self) -> list[str]:
        large = []
        if self.others_share is not None and self.others_share > BUSY_OTHERS_SHARE:
            large.append(f"other processes took {self.others_share:.0%} of the CPU")
        if self.stolen_share is not None and self.stolen_share > BUSY_STOLEN_SHARE:
            large.append(f"the hypervisor took {self.stolen_share:.0%} of the CPU")
        return large


class LoadWatch:
    """Measures the load from its creation on, over a second or more: clocks tick in 1/100 s."""

    def __init__(self) -> None:
        self._average, self._seconds = _load_average(), _cpu_seconds()

    def read(self) -> Load:
        """Return the load so far."""
        total, others, stolen = (
            None if before is None or after is None else max(0.0, after - before)
            for before, after in zip(self._seconds, _cpu_seconds(), strict=True)
        )
        return Load(
            load_average_before=self._average,
            load_average_after=_load_average(),
            others_share=others / total if total and others is not None else None,
            stolen_share=stolen / total if total and stolen is not None else None,
        )


def _cpu_seconds() -> tuple[float | None, float | None, float | None]:
    """Return the CPU seconds since start-up: all, used by other processes, and stolen."""
    try:
        system, own = psutil.cpu_times()._asdict(), psutil.Process().cpu_times()
    except (OSError, psutil.Error):
        return None, None, None
    # Linux counts the time of guests in the time of their host processes as well.
    total = sum(system.values()) - system.get("guest", 0.0) - system.get("guest_nice", 0.0)
    unused = sum(system.get(kind, 0.0) for kind in ("idle", "iowait", "steal"))
    ours = own.user + own.system + own.children_user + own.children_system
    return total, total - unused - ours, system.get("steal")


def _load_average() -> float | None:
    try:
        return float(psutil.getloadavg()[0])
    except OSError:
        return None
