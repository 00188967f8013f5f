"""Adapters of accelerate's trackers, which add log lines, files, facts and the way a run ended."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate.tracking import (
    LOGGER_TYPE_TO_CLASS,
    MLflowTracker,
    TensorBoardTracker,
    WandBTracker,
)

from harness.report.table import Table
from harness.tracking.backend import Backend, Ending, Place
from harness.tracking.ml_dash import MLDash


class TensorBoard(Backend, TensorBoardTracker):
    """Event files below `runs/`, parameters among them, so that a run is one folder.

    Accelerate puts the parameters into a folder of their own for every start.
    """

    def __init__(self, place: Place) -> None:
        # Readers discard what an interrupted run wrote about the epochs that are repeated.
        purge = {"purge_step": place.epochs + 1} if place.run_id else {}
        super().__init__(place.name, place.root / place.project, **purge)
        self.run_id = place.name

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Write parameters for the tabs HPARAMS and TEXT."""
        from torch.utils.tensorboard.summary import hparams

        shown = {"test/accuracy_top1": 0.0, "cost/latency_ms_p50": 0.0}
        begin = hparams(values, shown)[:2]  # type: ignore[no-untyped-call]
        for summary in begin:
            self.writer.file_writer.add_summary(summary)
        self.writer.add_text("parameters", _table(values))

    def log_facts(self, facts: Mapping[str, str]) -> None:
        """Write a table for the tab TEXT."""
        self.writer.add_text("facts", _table(facts))

    def log_line(self, line: str, step: int) -> None:
        """Write a text."""
        self.writer.add_text("log", line, global_step=step)
        self.writer.flush()

    def log_file(self, path: Path, step: int) -> None:
        """Write a picture; other files are named among the facts."""
        if path.suffix == ".png":
            import numpy as np
            from PIL import Image

            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
            name = f"figures/{path.stem}"
            self.writer.add_image(name, pixels, global_step=step, dataformats="HWC")


class MLflow(Backend, MLflowTracker):
    """MLflow: the server in MLFLOW_TRACKING_URI, else a SQLite file and a folder below `runs/`."""

    def __init__(self, place: Place) -> None:
        import mlflow

        # MLflow would print a line for every table that it creates.
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        # A server that does not answer may delay training by seconds, not by minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        files = None
        if place.offline or "MLFLOW_TRACKING_URI" not in os.environ:
            mlflow.set_tracking_uri(f"sqlite:///{place.root / 'mlflow.db'}")
            files = (place.root / "mlflow-files").as_uri()
        super().__init__(
            place.project, files, place.run_id, run_name=place.name, tags=dict(place.tags)
        )

    def start(self) -> None:
        """Begin the run, or continue it."""
        super().start()
        self.run_id = self.active_run.info.run_id

    def log_facts(self, facts: Mapping[str, str]) -> None:
        """Set tags."""
        import mlflow

        mlflow.set_tags(dict(facts))

    def log_file(self, path: Path, step: int) -> None:
        """Copy a file to the artifacts."""
        del step
        self.log_artifact(str(path))

    def end(self, ending: Ending) -> None:
        """Close the run with the status that fits."""
        import mlflow

        status = {Ending.OK: "FINISHED", Ending.FAILED: "FAILED", Ending.INTERRUPTED: "KILLED"}
        mlflow.end_run(status=status[ending])


class WandB(Backend, WandBTracker):
    """Weights & Biases, in its offline mode where the network must not be used."""

    def __init__(self, place: Place) -> None:
        # Messages about files and links are not needed: errors are raised.
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        resume = {"id": place.run_id, "resume": "allow"} if place.run_id else {}
        super().__init__(
            place.project,
            name=place.name,
            dir=str(place.root),
            mode="offline" if place.offline else None,
            tags=tuple(place.tags.values()),
            # Record neither the console nor the load of the machine, which is being measured.
            settings=wandb.Settings(console="off", x_disable_stats=True),
            **resume,
        )

    def start(self) -> None:
        """Begin the run, or continue it."""
        super().start()
        self.run_id = self.run.id

    def log_facts(self, facts: Mapping[str, str]) -> None:
        """Add to the configuration."""
        self.run.config.update(dict(facts), allow_val_change=True)

    def log_file(self, path: Path, step: int) -> None:
        """Hand over a file, and show a picture."""
        import wandb

        self.run.save(str(path), base_path=str(path.parent), policy="now", glob=False)
        if path.suffix == ".png":
            self.run.log({f"figures/{path.stem}": wandb.Image(str(path))}, step=step)

    def end(self, ending: Ending) -> None:
        """Close the run; whatever is not ok counts as crashed."""
        self.run.finish(exit_code=0 if ending is Ending.OK else 1)


_ADAPTERS = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB, "ml-dash": MLDash}


def make_backend(name: str, place: Place) -> Backend:
    """Return the tracker of that name, not yet started.

    One without an adapter is accelerate's: it gets parameters and numbers.
    """
    if name in _ADAPTERS:
        return _ADAPTERS[name](place)
    cls = LOGGER_TYPE_TO_CLASS[name]
    folder = (place.root,) if cls.requires_logging_directory else ()
    plain: type[Backend] = type(name, (Backend, cls), {})
    return plain(place.project, *folder)


def _table(values: Mapping[str, Any]) -> str:
    return Table.of_texts(("name", "value"), values.items(), align="l").markdown()
