"""Whether a machine was busy with other work during a measurement."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

# A quiet machine stays near 1%. At 5%, times move by as much as the differences looked for.
BUSY_OTHERS_SHARE = 0.05
BUSY_STOLEN_SHARE = 0.05


@dataclass(frozen=True, kw_only=True)
class Load:
    """What else ran; shares are of the time of all cores, and None where the system does not tell.

    Attributes:
        load_average_before: Processes that ran or wanted to, over the minute before the block.
        load_average_after: The same at its end, this process included.
        others_share: What other processes took. Own is this process and those of its children
            that had ended.
        stolen_share: What the hypervisor gave to other machines.
    """

    load_average_before: float | None
    load_average_after: float | None
    others_share: float | None
    stolen_share: float | None

    @property
    def busy(self) -> bool:
        """Whether a share is known that is large enough to blur times."""
        return bool(self._large_shares())

    def describe(self) -> str:
        """Return one line for people."""
        if self._large_shares():
            return " and ".join(self._large_shares())
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
    """What `watch_load` hands over.

    Attributes:
        load: There when the block has ended.
    """

    load: Load


@dataclass(frozen=True, kw_only=True)
class _CpuTimes:
    """Seconds of CPU since start-up: all, those used, those stolen, and those used here."""

    total: float
    busy: float
    stolen: float | None
    own: float


@contextmanager
def watch_load() -> Iterator[LoadWatch]:
    """Watch over a block, of a second or more, since systems count in hundredths of it."""
    watch = LoadWatch()
    average_before, before = _load_average(), _cpu_times()
    try:
        yield watch
    finally:
        others, stolen = _shares(before, _cpu_times())
        watch.load = Load(
            load_average_before=average_before,
            load_average_after=_load_average(),
            others_share=others,
            stolen_share=stolen,
        )


def _shares(before: _CpuTimes | None, after: _CpuTimes | None) -> tuple[float | None, float | None]:
    """Return the shares of other processes and of the hypervisor."""
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
    # Linux counts a guest's time as its host process's too.
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
