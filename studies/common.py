"""What studies share: a cell's images or record, ways that take turns, the spread of ratios."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Annotated, TypeVar

import numpy as np
from typer import Option

from harness.data.loading import ImageData, load_job_data
from harness.jobs import Cell, Job, Request
from harness.plan.jobs import make_job
from harness.records.cell import CELLS, Record
from harness.spec import ModelSpec

ROOT = Path(__file__).resolve().parent.parent
T = TypeVar("T")

Dataset = Annotated[str, Option(help="A data set's name.")]
DataFile = Annotated[Path | None, Option(help="Images to use instead of the official ones.")]
Threads = Annotated[int, Option(help="CPU threads.", min=1)]


def load_study(
    dataset: str, model: str, data_file: Path | None, assignments: Sequence[str] = ()
) -> tuple[Job, ModelSpec, ImageData]:
    """Return a model's job on the CPU, its specification and its images.

    Raises:
        RequestError: A name, a setting or the images are not right.
    """
    request = Request(
        datasets=[dataset],
        models=[model],
        assignments=[*assignments],
        data_dir=ROOT / "data",
        data_file=data_file,
        weights_dir=ROOT / "weights",
        results_dir=ROOT / "results",
        offline=True,
    )
    job, spec = make_job(request, Cell(dataset=dataset, model=model, device="cpu"))
    return job, spec, load_job_data(job, spec)


def run_cell(
    dataset: str, model: str, images: Path, options: Sequence[str], weights: Path, results: Path
) -> Record:
    """Run comparisons.py on one CPU thread, unless its record is there; return the record.

    Raises:
        SystemExit: The run failed; it has said why.
    """
    path = results / "records" / dataset / f"{model}-cpu.json"
    if not path.exists():
        cell = {"--dataset": dataset, "--model": model, "--device": "cpu", "--threads": 1}
        places = {"--data-file": images, "--weights-dir": weights, "--results-dir": results}
        named = (str(part) for option in (cell | places).items() for part in option)
        command = [sys.executable, str(ROOT / "comparisons.py"), *named, *options]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, check=False, env=environment, stdout=sys.stderr)
        if done.returncode:
            raise SystemExit(done.returncode)
    return CELLS.read(path)


def assign(settings: Mapping[str, object]) -> list[str]:
    """Return settings as options of the command line, `--set key=value`."""
    return [
        part for key, value in settings.items() for part in ("--set", f"{key}={json.dumps(value)}")
    ]


def in_turn(
    ways: Mapping[str, Callable[[], T]], order: np.random.Generator
) -> Iterator[tuple[str, T, float]]:
    """Call every way once, in random order; yield its name, what it returns and the seconds."""
    for name in order.permutation([*ways]).tolist():
        start = perf_counter()
        result = ways[name]()
        yield name, result, perf_counter() - start


def spread(ratios: Sequence[float], digits: int = 2) -> str:
    """Return the median of ratios and their range, or the one value that all of them have."""
    median, least, most = statistics.median(ratios), min(ratios), max(ratios)
    if least == most:
        return f"{median:.{digits}f}"
    return f"{median:.{digits}f} ({least:.{digits}f}–{most:.{digits}f})"
