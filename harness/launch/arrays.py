"""The arrays that the parts of a request are submitted in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from harness.errors import RequestError
from harness.jobs import Part
from harness.launch.cluster import Cluster, Resources


@dataclass(frozen=True, kw_only=True)
class Group:
    """What the jobs of an array have in common: what each asks for, a node for itself or not.

    They begin when the job `after` has ended, well or not.
    """

    resources: Resources
    exclusive: bool
    after: str | None

    def describe(self) -> str:
        """Return what a job asks for, without its time."""
        asked = asdict(self.resources) | {"time": None}
        words = [f"{name} {value}" for name, value in asked.items() if value]
        return ", ".join([*words, "exclusive"] if self.exclusive else words)


def submit_in_arrays(
    wanted: Sequence[Part],
    jobs: dict[str, str],
    cluster: Cluster,
    submit: Callable[[Group, Sequence[Part]], Sequence[str]],
) -> int:
    """Submit parts in arrays, and return their number.

    A part whose base is to be trained comes after the job that trains it: the base's own, or that
    of the first part that needs it. A RequestError by `submit` is raised again with the number of
    those that were submitted before, if any.

    Args:
        wanted: The parts.
        jobs: Names of the jobs that there are, by the key of what they train; others are added.
        cluster: Says what each model asks for, and how large an array may be.
        submit: Submits one array, and returns the names of its jobs.
    """
    waiting, count = list(wanted), 0
    while waiting:
        arrays, waiting = _next_arrays(waiting, jobs, cluster)
        for group, parts in arrays:
            try:
                names = submit(group, parts)
            except RequestError as error:
                if not count:
                    raise
                raise RequestError(
                    f"{error}; {count} of {len(wanted)} jobs were submitted: the same command "
                    "submits the others"
                ) from None
            count += len(parts)
            for part, name in zip(parts, names, strict=True):
                jobs[part.key] = name
                if part.after is not None:
                    jobs.setdefault(part.after, name)
    return count


def _next_arrays(
    waiting: Sequence[Part], jobs: Mapping[str, str], cluster: Cluster
) -> tuple[list[tuple[Group, list[Part]]], list[Part]]:
    """Return the arrays that can be submitted now, and the parts that come after their jobs."""
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
    size = cluster.array_size
    arrays = [
        (group, parts[first : first + size])
        for group, parts in groups.items()
        for first in range(0, len(parts), size)
    ]
    return arrays, later
