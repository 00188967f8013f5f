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


@dataclass(frozen=True, kw_only=True)
class _CpuTimes:
    """CPU seconds since start-up: all, used, stolen, and used by this process."""

    total: float
    busy: float
    stolen: float | None
    own: float


class LoadWatch:
    """Measures the load from its creation on, over a second or more: clocks tick in 1/100 s."""

    def __init__(self) -> None:
        self._average, self._times = _load_average(), _cpu_times()

    def read(self) -> Load:
        """Return the load so far."""
        others, stolen = _shares(self._times, _cpu_times())
        return Load(
            load_average_before=self._average,
            load_average_after=_load_average(),
            others_share=others,
            stolen_share=stolen,
        )


def _shares(before: _CpuTimes | None, after: _CpuTimes | None) -> tuple[float | None, float | None]:
    """Return the shares that other processes and the hypervisor took."""
    if before is None or after is None or after.total <= before.total:
        return None, None
    total = after.total - before.total
    others = max(0.0, after.busy - before.busy - (after.own - before.own)) / total
    if before.stolen is None or after.stolen is None:
        return others, None
    return others, max(0.0, after.stolen - before.stolen) / total


def _cpu_times() -> _CpuTimes | None:
    try:
        system, own = psutil.cpu_times()._asdict(), psutil.Process().cpu_times()
    except (OSError, psutil.Error):
        return None
    # Linux counts the time of guests in the time of their host processes as well.
    total = sum(system.values()) - system.get("guest", 0.0) - system.get("guest_nice", 0.0)
    unused = sum(system.get(kind, 0.0) for kind in ("idle", "iowait", "steal"))
    return _CpuTimes(
        total=total,
        busy=total - unused,
        stolen=system.get("steal"),
        own=own.user + own.system + own.children_user + own.children_system,
    )


def _load_average() -> float | None:
    try:
        return float(psutil.getloadavg()[0])
    except OSError:
        return None
