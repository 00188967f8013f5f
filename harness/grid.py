"""A request on a cluster: submitted, followed, cancelled.

Each part of the request is one job. Whether it is done the records say; what is queued, the
cluster.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic

from harness.errors import RequestError
from harness.jobs import Part, Request, Result
from harness.launch import slurm
from harness.launch.arrays import Group, note_jobs, split_into_arrays
from harness.launch.cluster import Cluster
from harness.launch.following import ACTIVE, BAD, State, StateName, summarize
from harness.launch.ledger import Ledger, Submission
from harness.launch.progress import read_progress
from harness.launch.version import Version, read_version
from harness.measurements.contract import Measurement, PlannedT
from harness.measurements.task import Task

# A network file system may show a record this much later than its job ends.
_PATIENCE_SECONDS = 60.0


class Grid(Generic[PlannedT]):
    """The parts of a request, planned, and what became of them.

    Attributes:
        parts: The parts as jobs, in the order of the plan.
    """

    def __init__(
        self,
        measurement: Measurement[PlannedT, Any],
        planned: Sequence[PlannedT],
        request: Request,
        cluster: Cluster | None = None,
    ) -> None:
        self.measurement, self.planned = measurement, planned
        self.request, self.cluster = request, cluster
        self.parts = [measurement.split_off(each, request) for each in planned]
        self.ledger = Ledger(request.results_dir.absolute())
        self._missing: dict[str, float] = {}
        self._patient = False
        if cluster is not None:
            for part in self.parts:
                _check_gpus(part, cluster)

    def states(self, *, patient: bool = False) -> list[State]:
        """Return what became of each part.

        Args:
            patient: Whether a part without job and record counts as running for a minute.

        Raises:
            RequestError: squeue failed, or a record is damaged.
        """
        self._patient, submissions = patient, self.ledger.read()
        # Before the records: a job that ends meanwhile has left one.
        jobs = slurm.list_jobs() if self.cluster is not None else {}
        return [
            self._state(planned, part, submissions.get(part.key), jobs)
            for planned, part in zip(self.planned, self.parts, strict=True)
        ]

    def to_submit(self) -> list[Part]:
        """Return the parts that are neither done nor queued; those that failed, for `retry`.

        With `force`, those that are done are among them.
        """
        skipped = ACTIVE if self.request.force else ("done", *ACTIVE)
        return [
            part
            for part, state in zip(self.parts, self.states(), strict=True)
            if (state.name in BAD if self.request.retry else state.name not in skipped)
        ]

    def submit(self) -> int:
        """Submit what is to be submitted, and return the number of jobs.

        Raises:
            RequestError: The cluster takes none of them, or not all.
        """
        with self.ledger.locked():
            wanted, jobs, count = self.to_submit(), self._queued(), 0
            version = read_version()
            for group, parts in split_into_arrays(wanted, jobs, self._cluster()):
                try:
                    names = self._submit_array(group, parts, version)
                except RequestError as error:
                    if not count:
                        raise
                    raise RequestError(
                        f"{error}; {count} of {len(wanted)} jobs were submitted: the same command "
                        "submits the others"
                    ) from None
                note_jobs(jobs, parts, names)
                count += len(parts)
        return count

    def _submit_array(self, group: Group, parts: Sequence[Part], version: Version) -> list[str]:
        """Submit one array, note it, and return the names of its jobs."""
        cluster, tries = self._cluster(), max(1, self.request.retry)
        orders = [
            self.ledger.write_order(part, version, tries, cluster.max_requeues) for part in parts
        ]
        names = slurm.submit([Task(path) for path in orders], group, cluster, self.ledger.jobs)
        planned = self._planned_by_key()
        results = [self.measurement.find_result(planned[part.key]) for part in parts]
        self.ledger.add(
            [
                Submission(key=part.key, job=name, before=result.started if result else "")
                for part, name, result in zip(parts, names, results, strict=True)
            ]
        )
        return names

    def cancel(self) -> int:
        """End the jobs of the request, waiting and running, and return their number.

        Raises:
            RequestError: squeue or scancel failed.
        """
        queued = self._queued()
        jobs = [queued[part.key] for part in self.parts if part.key in queued]
        slurm.cancel(jobs)
        return len(jobs)

    def describe(self) -> None:
        """Print the arrays that would be submitted, and roughly how long they take."""
        from rich.console import Console
        from rich.table import Table

        from harness.util.progress import describe_seconds

        planned, states = self._planned_by_key(), self.states()
        table = Table("array", "cell", "time limit", "asks for", "after", "rough cost")
        wanted, jobs, known, limit = self.to_submit(), self._queued(), 0.0, 0
        arrays = split_into_arrays(wanted, jobs, self._cluster())
        for number, (group, parts) in enumerate(arrays, start=1):
            for part in parts:
                seconds = self.measurement.estimate_seconds(planned[part.key])
                known, limit = known + (seconds or 0.0), limit + group.resources.time
                cost = "?" if seconds is None else describe_seconds(seconds)
                minutes = f"{group.resources.time} min"
                after = group.after or ""
                table.add_row(str(number), part.title, minutes, group.describe(), after, cost)
            note_jobs(jobs, parts, [part.title for part in parts])
        Console().print(table)
        print(
            f"{len(wanted)} jobs of {len(self.parts)} cells ({summarize(states)}); about "
            f"{known / 3600:.1f} node-hours by the rough costs, {limit / 60:.1f} at the most"
        )

    def _planned_by_key(self) -> dict[str, PlannedT]:
        return dict(zip([part.key for part in self.parts], self.planned, strict=True))

    def _cluster(self) -> Cluster:
        if self.cluster is None:
            raise ValueError("this request is for no cluster")
        return self.cluster

    def _queued(self) -> dict[str, str]:
        """Return the names of the jobs that wait or run, by the key of their part."""
        jobs = slurm.list_jobs()
        return {key: each.job for key, each in self.ledger.read().items() if each.job in jobs}

    def _state(
        self,
        planned: PlannedT,
        part: Part,
        submission: Submission | None,
        jobs: dict[str, slurm.QueuedJob],
    ) -> State:
        result, settled = (
            self.measurement.find_result(planned),
            self.measurement.is_settled(planned),
        )
        if submission is None:
            if result is None or (result.reason is None and not settled):
                return State(title=part.title, name="done" if settled else "to do")
            return _judge(part, result, None)
        log, job = self.ledger.log_path(submission.job), jobs.get(submission.job)
        if job is not None:
            return self._describe_job(part, job, log)
        if result is not None and (settled or result.started != submission.before):
            return _judge(part, result, log)
        return self._explain_absence(part, log)

    def _describe_job(self, part: Part, job: slurm.QueuedJob, log: Path) -> State:
        if job.state == "PENDING":
            detail = "" if job.reason == "None" else job.reason
            return State(title=part.title, name="queued", detail=detail)
        progress = read_progress(self.ledger.progress_path(part.key))
        return State(title=part.title, name="running", node=job.node, progress=progress, log=log)

    def _explain_absence(self, part: Part, log: Path) -> State:
        """Return the state of a part whose job has ended and whose record is not there."""
        refusal = self.ledger.refusal_path(part.key)
        if refusal.exists():
            return State(title=part.title, name="refused", detail=refusal.read_text(), log=log)
        since = self._missing.setdefault(part.key, time.monotonic())
        if self._patient and time.monotonic() - since < _PATIENCE_SECONDS:
            return State(title=part.title, name="running", detail="has ended", log=log)
        detail = "its job ended and left no record"
        return State(title=part.title, name="lost", detail=detail, log=log)


def _judge(part: Part, result: Result, log: Path | None) -> State:
    name: StateName = "done" if result.reason is None else "failed"
    return State(title=part.title, name=name, detail=result.reason or "", log=log)


def _check_gpus(part: Part, cluster: Cluster) -> None:
    gpus = cluster.resources(part.model).gpus
    if (part.request.device == "cuda") != bool(gpus):
        raise RequestError(
            f"{part.title}: --device {part.request.device}, and the settings of the cluster ask "
            f"for {gpus} GPUs"
        )
