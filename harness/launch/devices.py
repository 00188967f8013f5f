"""Parts of a request side by side on this machine, on several GPUs or on shares of its cores."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from harness.jobs import Part
from harness.launch.following import ACTIVE, State, StateName, follow
from harness.launch.local import Place, children_at, stop_children
from harness.launch.progress import read_progress
from harness.measure.pinning import usable_cpus
from harness.util.error_text import explain

_SECONDS = 1.0
_NAMES: dict[int, StateName] = {0: "done", 2: "refused"}


@dataclass
class _Run:
    """A part, and how far it is; the task returns its exit code, None where its GPU is gone.

    `slot` is the number of the device or share of the cores that it runs on.
    """

    part: Part
    slot: int = 0
    place: Place = field(default_factory=Place)
    state: StateName = "queued"
    detail: str = ""
    code: int = 1
    task: Future[int | None] | None = None


class Devices:
    """GPUs, or shares of the cores, that take parts of a request one after the other.

    Args:
        gpus: The devices, as `CUDA_VISIBLE_DEVICES` names them; None: a share of the cores, and
            whatever device this process sees.
        work: Runs the part of a number in children of its thread, and returns its exit code.
        folder: Takes a log for each part.
    """

    def __init__(
        self,
        gpus: Sequence[str | None],
        parts: Sequence[Part],
        work: Callable[[int], int],
        folder: Path,
    ) -> None:
        self.work, self.folder, self.gpus = work, folder, gpus
        self.cores = dict(enumerate(share_cores(len(gpus))))
        self._idle = list(self.cores)
        self._runs = [_Run(part) for part in parts]

    def run(self) -> list[int]:
        """Run all parts, showing how far they are, and return their exit codes.

        After a KeyboardInterrupt, of this process or of a part, all have ended.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(len(self.cores)) as pool:
            try:
                follow(partial(self._advance, pool), _SECONDS)
            except KeyboardInterrupt:
                stop_children()
                raise
        return [run.code for run in self._runs]

    def _advance(self, pool: ThreadPoolExecutor) -> list[State]:
        """Note which parts have ended, start those that can run now, and return all states."""
        for run in self._runs:
            if run.task is not None and run.task.done():
                self._finish(run, run.task.result())
        for number, run in enumerate(self._runs):
            if self._idle and run.state == "queued" and self._is_ready(run.part):
                path = self.folder / re.sub(r"\W+", "-", run.part.title)
                log, progress = path.with_suffix(".log"), path.with_suffix(".json")
                progress.unlink(missing_ok=True)
                run.state = "running"
                run.slot = self._idle.pop(0)
                run.place = Place(gpu=self.gpus[run.slot], log=log, progress=progress)
                run.task = pool.submit(self._run_part, number)
        return [self._describe(run) for run in self._runs]

    def _run_part(self, number: int) -> int | None:
        run = self._runs[number]
        gpu = run.place.gpu
        if self.cores[run.slot]:
            # Of this thread alone, and of the children that it starts.
            os.sched_setaffinity(0, self.cores[run.slot])
        try:
            with children_at(run.place):
                code = self.work(number)
        except Exception as error:  # the others go on
            print(f"{run.part.title}: {explain(error)}", file=sys.stderr)
            code = 1
        return None if code == 1 and gpu is not None and not gpu_is_there(gpu) else code

    def _finish(self, run: _Run, code: int | None) -> None:
        """Note the exit code of a part, or put it back where its device is gone."""
        run.task = None
        if code is not None:
            self._idle.append(run.slot)
            run.code, run.state = code, _NAMES.get(code, "failed")
            return
        print(f"GPU {run.place.gpu} is gone: {run.part.title} goes to another one", file=sys.stderr)
        del self.cores[run.slot]
        run.state = "queued"
        if not self.cores:
            for each in self._runs:
                if each.state == "queued":
                    each.state, each.detail = "failed", "no GPU is left"

    def _is_ready(self, part: Part) -> bool:
        """Whether what a queued part starts from is trained, or can be trained by this part."""
        return part.after is None or not any(
            (run.part.key == part.after and run.state in ACTIVE)
            or (run.part.after == part.after and run.state == "running")
            for run in self._runs
        )

    def _describe(self, run: _Run) -> State:
        return State(
            title=run.part.title,
            name=run.state,
            node="" if run.place.gpu is None else f"GPU {run.place.gpu}",
            detail=run.detail,
            progress=read_progress(run.place.progress) if run.state == "running" else None,
            log=run.place.log,
        )


def share_cores(count: int) -> list[set[int]]:
    """Return the cores of each of `count` devices; none twice where there are enough."""
    cores = usable_cpus()
    if 0 < len(cores) < count:
        return [{cores[number % len(cores)]} for number in range(count)]
    bounds = [len(cores) * number // count for number in range(count + 1)]
    return [set(cores[low:high]) for low, high in itertools.pairwise(bounds)]


def gpu_is_there(gpu: str) -> bool:
    """Return whether a process can use a GPU."""
    done = subprocess.run(
        [sys.executable, "-c", "import torch; torch.zeros(1, device='cuda').item()"],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": gpu},
        capture_output=True,
        check=False,
    )
    return done.returncode == 0
