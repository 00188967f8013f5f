"""Parts of a request on several GPUs of this machine: one child process at a time on each."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from harness.jobs import Part
from harness.launch.following import ACTIVE, State, StateName, follow
from harness.launch.local import Place, children_at, stop_children
from harness.launch.progress import read_progress
from harness.util.error_text import explain

_SECONDS = 1.0
_NAMES: dict[int, StateName] = {0: "done", 2: "refused", 130: "to do"}


@dataclass
class _Run:
    """A part, and how far it is."""

    part: Part
    place: Place = field(default_factory=Place)
    state: StateName = "queued"
    detail: str = ""
    code: int = 1


class Devices:
    """GPUs that take parts of a request one after the other.

    Args:
        gpus: The devices, as `CUDA_VISIBLE_DEVICES` names them.
        parts: The parts.
        work: Runs the part of a number in children of its thread, and returns its exit code.
        folder: Takes a log for each part.
    """

    def __init__(
        self,
        gpus: Sequence[str],
        parts: Sequence[Part],
        work: Callable[[int], int],
        folder: Path,
    ) -> None:
        self.gpus, self.work, self.folder = list(gpus), work, folder
        self._runs = [_Run(part) for part in parts]
        self._changed = threading.Condition()
        self._stopped = False

    def run(self) -> list[int]:
        """Run all parts, showing how far they are, and return their exit codes.

        Raises:
            KeyboardInterrupt: The user interrupted one, and all have ended.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        gpus = tuple(self.gpus)
        with ThreadPoolExecutor(len(gpus)) as pool:
            for gpu, cores in zip(gpus, share_cores(len(gpus)), strict=True):
                pool.submit(self._serve, gpu, cores)
            try:
                follow(self.states, _SECONDS)
            except KeyboardInterrupt:
                self._stop()
                stop_children()
        if self._stopped:
            raise KeyboardInterrupt
        return [run.code for run in self._runs]

    def states(self) -> list[State]:
        """Return how far each part is."""
        with self._changed:
            return [self._describe(run) for run in self._runs]

    def _describe(self, run: _Run) -> State:
        gpu, running = run.place.gpu, run.state == "running"
        return State(
            title=run.part.title,
            name="to do" if self._stopped and run.state == "queued" else run.state,
            node="" if gpu is None else f"GPU {gpu}",
            detail=run.detail,
            progress=read_progress(run.place.progress) if running else None,
            log=run.place.log,
        )

    def _serve(self, gpu: str, cores: set[int]) -> None:
        """Run parts on one device until none is left, or the device is gone."""
        if cores:
            # Of this thread alone, and of the children that it starts.
            os.sched_setaffinity(0, cores)
        while (number := self._take(gpu)) is not None:
            run = self._runs[number]
            try:
                with children_at(run.place):
                    code = self.work(number)
            except KeyboardInterrupt:
                self._stop()
                code = 130
            except Exception as error:  # the others go on, and nobody waits for this one
                print(f"{run.part.title}: {explain(error)}", file=sys.stderr)
                code = 1
            gone = code == 1 and not gpu_is_there(gpu)
            with self._changed:
                if gone:
                    self._retire(gpu, run)
                else:
                    run.code, run.state = code, _NAMES.get(code, "failed")
                self._changed.notify_all()
            if gone:
                return

    def _take(self, gpu: str) -> int | None:
        """Wait for a part that can run now, and return its number; None: there are no more."""
        with self._changed:
            while not self._stopped:
                for number, run in enumerate(self._runs):
                    if run.state == "queued" and self._is_ready(run.part):
                        path = self.folder / re.sub(r"\W+", "-", run.part.title)
                        log, progress = path.with_suffix(".log"), path.with_suffix(".json")
                        progress.unlink(missing_ok=True)
                        run.place = Place(gpu=gpu, log=log, progress=progress)
                        run.state = "running"
                        return number
                # A part that runs may come back from a device that is gone.
                if not any(run.state == "running" for run in self._runs):
                    return None
                self._changed.wait()
            return None

    def _is_ready(self, part: Part) -> bool:
        """Whether what a queued part starts from is trained, or can be trained by this part."""
        return part.after is None or not any(
            (run.part.key == part.after and run.state in ACTIVE)
            or (run.part.after == part.after and run.state == "running")
            for run in self._runs
        )

    def _retire(self, gpu: str, run: _Run) -> None:
        """Put back the part of a device that is gone; without any device, none can run."""
        print(f"GPU {gpu} is gone: {run.part.title} goes to another one", file=sys.stderr)
        self.gpus.remove(gpu)
        run.state = "queued"
        if not self.gpus:
            for each in self._runs:
                if each.state == "queued":
                    each.state, each.detail = "failed", "no GPU is left"

    def _stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()


def share_cores(count: int) -> list[set[int]]:
    """Return the cores of each of `count` devices; none twice where there are enough."""
    if not hasattr(os, "sched_getaffinity"):
        return [set() for _ in range(count)]
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < count:
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
