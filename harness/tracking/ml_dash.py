"""A tracker for ML-Dash, which accelerate lacks (Yang, Tao: https://docs.dash.ml)."""

from __future__ import annotations

import contextlib
import getpass
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.tracking.backend import Backend, Ending, Place


class MLDash(Backend):
    """Writes below `runs/ml-dash`, and sends to the server in ML_DASH_API_URL where that is set."""

    name = "ml-dash"
    requires_logging_directory = False

    def __init__(self, place: Place) -> None:
        super().__init__()
        # Otherwise importing ml_dash asks the package registry for the newest version.
        os.environ["ML_DASH_NO_VERSION_CHECK"] = "1"
        # Without the buffer everything is written at once. The buffer would lose the last entries
        # when the process is killed, and it deletes files that it was given from below the system's
        # temporary folder.
        os.environ["ML_DASH_BUFFER_ENABLED"] = "false"
        from ml_dash import Experiment

        owner = os.environ.get("ML_DASH_USER") or getpass.getuser()
        self.run_id = place.run_id or f"{owner}/{place.project}/{place.name}"
        url = None if place.offline else os.environ.get("ML_DASH_API_URL")
        self.experiment = Experiment(
            self.run_id,
            tags=list(place.tags.values()),
            dash_url=url,
            dash_root=str(place.root / "ml-dash"),
        )

    @property
    def tracker(self) -> object:
        """The experiment."""
        return self.experiment

    def start(self) -> None:
        """Open the experiment."""
        self.experiment.run.start()

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Set parameters."""
        self.experiment.params.set(**values)

    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: object) -> None:
        """Add a point to the metric that each name begins with: `train/loss` to `train`."""
        del kwargs
        points: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            metric, _, field = name.rpartition("/")
            points.setdefault(metric or "run", {})[field] = value
        for metric, point in points.items():
            self.experiment.metrics(metric.replace("/", ".")).log(step=step, **point)

    def log_facts(self, facts: Mapping[str, str]) -> None:
        """Set parameters."""
        self.experiment.params.set(facts=dict(facts))

    def log_line(self, line: str, step: int) -> None:
        """Add a line, which ML-Dash would print as well."""
        with contextlib.redirect_stdout(io.StringIO()):
            self.experiment.logs.info(line, step=step)

    def log_file(self, path: Path, step: int) -> None:
        """Copy a file."""
        del step
        self.experiment.files.upload(str(path))

    def end(self, ending: Ending) -> None:
        """Close the experiment with the status that fits."""
        run = self.experiment.run
        close = {Ending.OK: run.complete, Ending.FAILED: run.fail, Ending.INTERRUPTED: run.cancel}
        close[ending]()
