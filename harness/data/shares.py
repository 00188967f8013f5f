"""Shares: the part of every batch that each of several training processes takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Share:
    """The share of one of the processes that train one network together.

    The shares of a batch are consecutive, and their sizes differ by one image at the most. A batch
    of fewer images than processes is taken whole by each process. Ranks count from 0.
    """

    rank: int = 0
    processes: int = 1

    def rows(self, count: int) -> slice:
        """Return the rows of a batch of `count` images that this process takes."""
        if count < self.processes:
            return slice(0, count)
        return slice(count * self.rank // self.processes, count * (self.rank + 1) // self.processes)

    def weight(self, count: int) -> float:
        """Return the weight of this process's mean in that of a batch; all weights add up to 1."""
        if count < self.processes:
            return 1 / self.processes
        return len(range(count)[self.rows(count)]) / count
