"""The record of a comparison of latencies, from the results of its processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from datetime import datetime

from harness.jobs import LatencyJob
from harness.measure.latency import describe_method
from harness.measure.ratios import MOST_DRIFT, Ratio, compare_latency
from harness.records.latency import LatencyRecord, LatencyRow
from harness.records.parts import Load, Machine
from harness.run.latency import ProcessTimes
from harness.run.provenance import make_provenance


def pool_processes(
    job: LatencyJob, processes: Sequence[ProcessTimes], started: datetime
) -> LatencyRecord:
    """Return the record of a comparison, which began at `started` and is not written yet."""
    settings, cell = job.jobs[0].settings, job.jobs[0].cell
    rounds = [each.rounds for each in processes]
    ratios = compare_latency(rounds, reference=job.reference_name, seed=settings.seed)
    environment, drift = processes[0].environment, max(each.drift for each in rounds)
    return LatencyRecord(
        dataset=cell.dataset,
        device=cell.device,
        reference=job.reference,
        reference_runtime=job.runtimes[0],
        processes=len(processes),
        rounds=ratios[job.reference_name].latency.latency_rounds,
        drift=drift,
        drifted=drift > MOST_DRIFT,
        reruns=sum(each.reruns for each in rounds),
        method=describe_method(on_gpu=rounds[0].on_gpu),
        machine=_pool_machines(processes),
        rows=tuple(
            _pool_row(rows, ratios) for rows in zip(*(each.rows for each in processes), strict=True)
        ),
        data_name=processes[0].data_name,
        data_sha256=processes[0].data_sha256,
        seed=settings.seed,
        provenance=make_provenance(environment, started, job.command),
    )


def _pool_machines(processes: Sequence[ProcessTimes]) -> Machine:
    """Return the cores of all processes, and the largest load during any of them."""
    machines = [each.machine for each in processes]
    cores = {core for each in machines for core in each.cores or ()}
    loads = [each.load for each in machines if each.load]
    load = Load(
        load_average_before=loads[0].load_average_before,
        load_average_after=loads[-1].load_average_after,
        others_share=_largest(each.others_share for each in loads),
        stolen_share=_largest(each.stolen_share for each in loads),
    )
    return dataclasses.replace(
        machines[0],
        cores=sorted(cores) if all(each.cores for each in machines) else None,
        load=load,
        busy=next((each.busy for each in machines if each.busy), None),
    )


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _pool_row(rows: Sequence[LatencyRow], ratios: dict[str, Ratio]) -> LatencyRow:
    """Return a model's row with its times if all processes timed it, else with the reason."""
    row, found = rows[0], ratios.get(rows[0].name)
    if found is None:
        return next(each for each in rows if each.reason)
    names = ("latency_ms_p05", "latency_ms_p50", "latency_ms_p95", "latency_ms_p99")
    return dataclasses.replace(
        row,
        max_difference=_largest(each.max_difference for each in rows),
        **{name: getattr(found.latency, name) for name in names},
        ratio=found.ratio,
        ratio_low=found.ratio_low,
        ratio_high=found.ratio_high,
        ratio_by_process=list(found.by_process),
    )
