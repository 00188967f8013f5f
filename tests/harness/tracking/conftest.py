"""A small cell that trains in a moment, with trackers, and can be interrupted."""

import logging

import pytest
import torch
from torch import nn

from harness.data.batches import ImageBatches
from harness.data.loading import DataSource, ImageData
from harness.data.splits import MemorySplit
from harness.jobs import Cell, Job
from harness.records.cell import CELLS
from harness.report import figures
from harness.run.provision import discard_checkpoint, ready_network
from harness.settings_spec import Settings, TrainingSettings
from harness.spec import ModelSpec
from harness.tracking.run import open_tracker
from harness.training import fit as training_fit
from tests.records import cell_record

RECIPE = TrainingSettings(epochs=4, batch_size=4, start="random", shift_pixels=1)


class Net(nn.Sequential):
    def __init__(self, classes):
        # Dropout draws from the generators that trackers must leave alone.
        super().__init__(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, classes))


def fit(fitting):
    fitting.seed_all("start")
    network = Net(3)
    for stage in ("first", "second"):
        fitting.seed_all(stage)
        batches = fitting.image_batches(RECIPE, fitting.split.labels)
        fitting.stages.train(stage, network, batches, RECIPE)
    return network


SPEC = ModelSpec(label="Net", build=lambda classes, *_: Net(classes), image_size=8)
STAGED = ModelSpec(label="Net", build=lambda classes, *_: Net(classes), image_size=8, fit=fit)


@pytest.fixture(autouse=True)
def _log_lines():
    # As in the child process of a cell.
    logger = logging.getLogger("harness")
    before = logger.level
    logger.setLevel(logging.INFO)
    yield
    logger.setLevel(before)


@pytest.fixture
def pictures():
    """Draw the figures of records, which takes longer than all the rest of a cell."""


@pytest.fixture(autouse=True)
def _no_pictures(request, monkeypatch):
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr(figures, "draw_record", lambda *_: [])


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (12, 1, 8, 8), dtype=torch.uint8, generator=generator)
    split = MemorySplit(images, torch.arange(12) % 3)
    source = DataSource(name="made", sha256="d" * 64, digest_of="nothing", official=False)
    return ImageData(train=split, test=split, classes=tuple("abc"), channels=1, source=source)


@pytest.fixture
def make_job(tmp_path):
    def make(*trackers, folder=".", offline=True, weights="auto"):
        return Job(
            cell=Cell(dataset="emnist", model="net", device="cpu"),
            settings=Settings(image_size=8, training=RECIPE, weights=weights),
            data_dir=tmp_path,
            data_file=None,
            weights_dir=tmp_path / folder / "weights",
            results_dir=tmp_path / folder / "results",
            offline=offline,
            command="python comparisons.py",
            trackers=trackers,
            runs_dir=tmp_path / folder / "runs",
        )

    return make


@pytest.fixture
def run(data):
    """Run a cell as a child process does, and return its weights' sidecar."""

    def run(job, spec=SPEC, status="ok"):
        with open_tracker(job) as tracker:
            tracker.begin({"data_sha256": data.source.sha256, "training": {"epochs": 4}, "a": None})
            ready = ready_network(job, spec, data, tracker)
            record = cell_record(
                dataset="emnist",
                model="net",
                label="Net",
                device="cpu",
                status=status,
                reason=None if status == "ok" else "it broke",
                accuracy_top1=87.5,
                latency_ms_p50=1.25,
                weights_origin=ready.origin,
                weights_sha256=ready.sha256,
                data_sha256=data.source.sha256,
                history=ready.sidecar.logs if ready.sidecar else [],
            )
            path = CELLS.write(job.results_dir, record)
            discard_checkpoint(job, data.source.sha256)
            tracker.log_record(record, path)
        return ready.sidecar

    return run


@pytest.fixture
def interrupt(monkeypatch):
    """Interrupt the next training in an epoch, or whatever else is raised there."""

    def interrupt(epoch, error=KeyboardInterrupt):
        class Interrupted(ImageBatches):
            def epoch(self, number, first_step):
                for step, batch in enumerate(super().epoch(number, first_step), start=first_step):
                    if (number, step) == (epoch, 1):
                        monkeypatch.setattr(training_fit, "ImageBatches", ImageBatches)
                        raise error
                    yield batch

        monkeypatch.setattr(training_fit, "ImageBatches", Interrupted)

    return interrupt
