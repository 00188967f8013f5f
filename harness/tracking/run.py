"""Track one cell in all its trackers: begin the run or continue it, report to it, and close it."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Self

from accelerate.state import PartialState
from pydantic import TypeAdapter

from harness.errors import CellError, RequestError
from harness.jobs import Job
from harness.networks.weights_files import (
    checkpoint_path,
    stages_folder,
    tracking_path,
    trained_weights_path,
    unfinished_path,
)
from harness.records.cell import Record
from harness.tracking.adapters import make_backend
from harness.tracking.backend import Backend, Ending, Place
from harness.tracking.isolation import Isolated
from harness.tracking.values import epoch_numbers, flatten, record_numbers
from harness.training.tracker import UNTRACKED, Tracker
from harness.util.files import regular_file, write_text

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def open_tracker(job: Job) -> Iterator[Tracker]:
    """Track a cell while the block runs, with the trackers that its job names."""
    if not job.trackers or job.runs_dir is None:
        yield UNTRACKED
        return
    with TrackedRun(job, job.runs_dir) as run:
        yield run


@dataclass(kw_only=True)
class Progress:
    """How far the tracking of a training has come, in a file beside its checkpoint.

    Attributes:
        name: The run's name.
        run_ids: What each tracker calls the run; trackers that cannot continue a run are left out.
        epochs: The number of epochs that each tracker has been told.
    """

    name: str = ""
    run_ids: dict[str, str] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)


class TrackedRun(Tracker, logging.Handler):
    """A tracker that reports to all the trackers of a job.

    A run begins with the first report, so that a request that is refused leaves none. It handles
    the lines of the log as well.
    """

    def __init__(self, job: Job, runs: Path) -> None:
        super().__init__()
        self.job, self.runs = job, runs
        self.project = f"{job.cell.dataset}-{job.cell.model}"
        self.progress = Progress()
        self.progress_file: Path | None = None
        self.backends = Isolated()
        self.opened, self.epochs, self.ending = False, 0, Ending.FAILED
        self.parameters: dict[str, Any] = {}
        self.lines: list[str] = []

    def __enter__(self) -> Self:
        """Listen to the log."""
        logging.getLogger("harness").addHandler(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close what was opened."""
        logging.getLogger("harness").removeHandler(self)
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self.ending = Ending.INTERRUPTED
        if self.log_file.exists():
            self.backends.tell_all(lambda tracker: tracker.log_file(self.log_file, self.epochs))
        self.backends.tell_all(lambda tracker: tracker.end(self.ending))

    @property
    def folder(self) -> Path:
        """The folder of this run, for its log and for trackers that write files."""
        return self.runs / self.project / self.progress.name

    @property
    def log_file(self) -> Path:
        """The file with the lines of the log."""
        return self.folder / "log.txt"

    def begin(self, parameters: Mapping[str, Any]) -> None:
        """Keep the parameters, and find out whether an interrupted training continues."""
        self.parameters = flatten(parameters)
        if self.job.settings.weights not in ("auto", "train"):
            return
        weights = unfinished_path(self.job, parameters["data_sha256"])
        self.progress_file = tracking_path(weights)
        if checkpoint_path(weights).exists() or stages_folder(weights).exists():
            # Where the file cannot be read, a new run begins.
            with contextlib.suppress(OSError, RequestError, ValueError):
                text = regular_file(self.progress_file).read_bytes()
                self.progress = TypeAdapter(Progress).validate_json(text, strict=True)

    def log_epoch(self, entry: Mapping[str, Any]) -> None:
        """Tell the epoch to each tracker that does not have it."""
        self._open()
        self.epochs += 1

        def tell(tracker: Backend) -> None:
            tracker.log(epoch_numbers(entry), step=self.epochs)

        for name in list(self.backends.by_name):
            if self.progress.epochs[name] < self.epochs and self.backends.tell(name, tell):
                self.progress.epochs[name] = self.epochs
        self._note_progress()

    def log_record(self, record: Record, path: Path) -> None:
        """Give each tracker the results and the files."""
        from harness.report.figures import draw_record

        self._open()
        self.ending = Ending.OK if record.status == "ok" else Ending.FAILED
        facts = {"status": record.status, "reason": record.reason, "record": str(path)}
        facts |= {"weights_origin": record.weights.weights_origin, "start": record.weights.start}
        files = [path]
        try:
            # The results need the figures, tracked or not.
            files += draw_record(self.job.results_dir, record)
        except CellError as error:
            logger.warning("%s", error)
        if record.weights.weights_origin == "trained":
            weights = trained_weights_path(self.job, record.data.data_sha256)
            facts |= {"weights": str(weights), "weights_sha256": record.weights.weights_sha256}
            files += [weights, weights.with_suffix(".json")]

        def tell(tracker: Backend) -> None:
            tracker.log(record_numbers(record), step=self.epochs)
            tracker.log_facts({name: fact for name, fact in facts.items() if fact})
            for file in files:
                tracker.log_file(file, self.epochs)

        self.backends.tell_all(tell)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line of the log, and report it once the run has begun."""
        self.lines.append(self.format(record))
        if self.opened:
            self._tell_lines()

    def _open(self) -> None:
        """Begin or continue the run in every tracker."""
        if self.opened:
            return
        # Accelerate's trackers need this state; it must not take a GPU that the cell does not use.
        PartialState(cpu=self.job.cell.device == "cpu")
        self.progress.name = self.progress.name or self._new_name()
        # Written first: a run that is killed while it starts keeps its name when it continues.
        self._note_progress()
        for name in self.job.trackers:
            backend = self.backends.start(name, partial(self._start, name))
            if backend is not None and backend.run_id is not None:
                self.progress.run_ids[name] = backend.run_id
        self._note_progress()
        self.opened = True
        self._tell_lines()

    def _start(self, name: str) -> Backend:
        self.folder.mkdir(parents=True, exist_ok=True)
        run_id = self.progress.run_ids.get(name)
        # A tracker that cannot continue a run begins another, and is told all epochs.
        epochs = self.progress.epochs.get(name, 0) if run_id else 0
        self.progress.epochs[name] = epochs
        cell = self.job.cell
        place = Place(
            project=self.project,
            name=self.progress.name,
            root=self.runs,
            tags={"dataset": cell.dataset, "model": cell.model, "device": cell.device},
            offline=self.job.offline,
            run_id=run_id,
            epochs=epochs,
        )
        backend = make_backend(name, place)
        backend.start()
        if run_id is None:
            backend.store_init_configuration(self.parameters)
        return backend

    def _note_progress(self) -> None:
        # Without the file, a continued training is tracked as a new run, which does no harm.
        if self.progress_file is not None:
            with contextlib.suppress(CellError):
                write_text(self.progress_file, json.dumps(asdict(self.progress)) + "\n")

    def _new_name(self) -> str:
        name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-seed{self.job.settings.seed}"
        same = len(list((self.runs / self.project).glob(f"{name}*")))
        return f"{name}-{same + 1}" if same else name

    def _tell_lines(self) -> None:
        lines, self.lines = self.lines, []
        with contextlib.suppress(OSError), self.log_file.open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)

        def tell(tracker: Backend) -> None:
            for line in lines:
                tracker.log_line(line, self.epochs)

        self.backends.tell_all(tell)
