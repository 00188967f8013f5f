"""The arrays that the parts of a request are submitted in."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.jobs import Part
from harness.launch.cluster import Cluster, Resources


@dataclass(frozen=True, kw_only=True)
class Group:
    """What the jobs of an array have in common.

    Attributes:
        resources: What each asks for.
        exclusive: Whether each has its node for itself.
        after: The job that must have ended, well or not, before these begin.
    """

    resources: Resources
    exclusive: bool
    after: str | None

    def describe(self) -> str:
        """Return what a job asks for, without its time."""
        asked = dataclasses.asdict(self.resources)
        words = [f"{name} {value}" for name, value in asked.items() if value and name != "time"]
        return ", ".join([*words, "exclusive"] if self.exclusive else words)


def split_into_arrays(
    wanted: Sequence[Part], jobs: dict[str, str], cluster: Cluster
) -> Iterator[tuple[Group, list[Part]]]:
    """Yield the arrays to submit.

    A part whose base is to be trained comes after the job that trains it: the base's own, or that
    of the first part that needs it.

    Args:
        wanted: The parts.
        jobs: Names of the jobs that there are, by the key of what they train. The caller adds
            those of each array (`note_jobs`) before asking for the next.
        cluster: Says what each model asks for, and how large an array may be.
    """
    waiting = list(wanted)
    while waiting:
        groups: dict[Group, list[Part]] = defaultdict(list)
        to_train, later = {part.key for part in waiting}, []
        for part in waiting:
            if part.after in to_train:
                later.append(part)
                continue
            after = jobs.get(part.after) if part.after else None
            if part.after is not None and after is None:
                # It trains the base itself; the others wait for it.
                to_train.add(part.after)
            resources = cluster.resources(part.model)
            groups[Group(resources=resources, exclusive=part.exclusive, after=after)].append(part)
        for group, parts in groups.items():
            for first in range(0, len(parts), cluster.array_size):
                yield group, parts[first : first + cluster.array_size]
        waiting = later


def note_jobs(jobs: dict[str, str], parts: Sequence[Part], names: Sequence[str]) -> None:
    """Add the names of the jobs of parts, by the keys of what they train."""
    for part, name in zip(parts, names, strict=True):
        jobs[part.key] = name
        if part.after is not None:
            jobs.setdefault(part.after, name)
