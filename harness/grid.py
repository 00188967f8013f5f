"""A request on a cluster: submitted, followed, cancelled.

Each part of the request is one job. Whether it is done the records say; what is queued, the
cluster.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Generic

from harness.errors import RequestError
from harness.jobs import Part, Request
from harness.launch import slurm
from harness.launch.arrays import Group, submit_in_arrays
from harness.launch.cluster import Cluster
from harness.launch.following import ACTIVE, BAD, State, StateName, summarize
from harness.launch.ledger import Ledger, Order, Submission, Version, read_version
from harness.launch.progress import read_progress
from harness.measurements.contract import Measurement, PlannedT
from harness.measurements.task import Task
from harness.util.locks import shared_lock

# A network file system may show a record this much later than its job ends.
_PATIENCE_SECONDS = 60.0


class Grid(Generic[PlannedT]):
    """The parts of a request as a measurement has planned them, and what became of them.

    A RequestError says where a part asks for a GPU and the settings of its cluster do not, or vice
    versa. Without a cluster, the parts run on this machine.
    """

    def __init__(
        self,
        measurement: Measurement[PlannedT, Any],
        planned: Sequence[PlannedT],
        request: Request,
        cluster: Cluster | None = None,
    ) -> None:
        self.measurement, self.request, self.cluster = measurement, request, cluster
        self.parts = [measurement.split_off(each, request) for each in planned]
        self.planned = {part.key: each for part, each in zip(self.parts, planned, strict=True)}
        self.ledger = Ledger(request.results_dir.absolute())
        self._missing: dict[str, float] = {}
        for part in self.parts:
            gpus, device = cluster and cluster.resources(part.model).gpus, part.request.device
            if gpus is not None and (device == "cuda") != bool(gpus):
                raise RequestError(
                    f"{part.title}: --device {device}, and the settings of the cluster ask for "
                    f"{gpus} GPUs"
                )

    def states(self, *, patient: bool = False) -> list[State]:
        """Return what became of each part; a RequestError if squeue fails or a record is damaged.

        If `patient`, a part without job and record counts as running for a minute.
        """
        submissions = self.ledger.read()
        # Before the records: a job that ends meanwhile has left one.
        jobs = slurm.list_jobs() if self.cluster is not None else {}
        return [
            self._state(part, submissions.get(part.key), jobs, patient=patient)
            for part in self.parts
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

        A RequestError says that the cluster takes none of them, or how many it took.
        """
        # Others may submit from the same results folder.
        with shared_lock(self.ledger.folder / "lock"):
            submit = partial(self._submit_array, read_version())
            return submit_in_arrays(self.to_submit(), self._queued(), self._cluster(), submit)

    def _submit_array(self, version: Version, group: Group, parts: Sequence[Part]) -> list[str]:
        """Submit one array, note it, and return the names of its jobs."""
        cluster, tries = self._cluster(), max(1, self.request.retry)
        limits = {"tries": tries, "max_requeues": cluster.max_requeues}
        orders = [Order(part=part, version=version, **limits) for part in parts]
        tasks = [Task(self.ledger.write_order(order)) for order in orders]
        names = slurm.submit(tasks, group, cluster, self.ledger.jobs)
        submissions = []
        for part, name in zip(parts, names, strict=True):
            result = self.measurement.find_result(self.planned[part.key])
            before = result.started if result else ""
            submissions.append(Submission(key=part.key, job=name, before=before))
        self.ledger.add(submissions)
        return names

    def cancel(self) -> int:
        """End the jobs of the request, waiting and running, and return their number."""
        queued = self._queued()
        jobs = [queued[part.key] for part in self.parts if part.key in queued]
        slurm.cancel(jobs)
        return len(jobs)

    def describe(self) -> None:
        """Print the arrays that would be submitted, and roughly how long they take."""
        from rich.console import Console
        from rich.table import Table

        from harness.util.progress import describe_seconds

        table = Table("array", "cell", "time limit", "asks for", "after", "rough cost")
        states, wanted = self.states(), self.to_submit()
        numbers, costs, limits = itertools.count(1), list[float](), list[int]()

        def show(group: Group, parts: Sequence[Part]) -> list[str]:
            number = str(next(numbers))
            for part in parts:
                seconds = self.measurement.estimate_seconds(self.planned[part.key])
                cost = "?" if seconds is None else describe_seconds(seconds)
                minutes, asked = group.resources.time, group.describe()
                after = group.after or ""
                table.add_row(number, part.title, f"{minutes} min", asked, after, cost)
                costs.append(seconds or 0.0)
                limits.append(minutes)
            return [part.title for part in parts]

        submit_in_arrays(wanted, self._queued(), self._cluster(), show)
        Console().print(table)
        print(
            f"{len(wanted)} jobs of {len(self.parts)} cells ({summarize(states)}); about "
            f"{sum(costs) / 3600:.1f} node-hours by the rough costs, {sum(limits) / 60:.1f} at the "
            "most"
        )

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
        part: Part,
        submission: Submission | None,
        jobs: dict[str, slurm.QueuedJob],
        *,
        patient: bool,
    ) -> State:
        planned = self.planned[part.key]
        result = self.measurement.find_result(planned)
        settled = self.measurement.is_settled(planned)
        job = jobs.get(submission.job) if submission else None
        log = self.ledger.log_path(submission.job) if submission else None
        state = partial(State, title=part.title, log=log)
        if job is not None and job.state == "PENDING":
            return state(name="queued", detail="" if job.reason == "None" else job.reason, log=None)
        if job is not None:
            progress = read_progress(self.ledger.progress_path(part.key))
            return state(name="running", node=job.node, progress=progress)
        if submission is None and (result is None or (result.reason is None and not settled)):
            return state(name="done" if settled else "to do")
        before = submission.before if submission else None
        if result is not None and (settled or result.started != before):
            name: StateName = "done" if result.reason is None else "failed"
            return state(name=name, detail=result.reason or "")
        # Its job has ended, and its record is not there.
        refusal, now = self.ledger.refusal_path(part.key), time.monotonic()
        name, detail = "lost", "its job ended and left no record"
        if refusal.exists():
            name, detail = "refused", refusal.read_text()
        elif patient and now - self._missing.setdefault(part.key, now) < _PATIENCE_SECONDS:
            name, detail = "running", "has ended"
        return state(name=name, detail=detail)
