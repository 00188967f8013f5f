"""A tiny convolutional model, images for it, and cells that compress it."""

from functools import partial

import pytest
import torch
from torch import nn

from harness.compression.models import compressed_model
from harness.data.loading import DataSource, ImageData
from harness.data.splits import MemorySplit
from harness.jobs import Cell, Job
from harness.run import provision
from harness.settings_spec import (
    MeasurementSettings,
    PruningSettings,
    QuantizationSettings,
    Settings,
    TrainingSettings,
)
from harness.spec import CompressedSpec, ModelSpec

SIDE, CLASSES, WIDTH = 8, 3, 64
RECIPE = TrainingSettings(epochs=2, batch_size=4, learning_rate=0.01, shift_pixels=1)
SECTIONS = {
    "quantization": QuantizationSettings(training=RECIPE),
    "pruning": PruningSettings(steps=64, training=RECIPE),
}


def build(num_classes, in_channels, pretrained):
    return nn.Sequential(
        *(
            nn.Conv2d(in_channels, WIDTH, 3, padding=1, bias=False),
            nn.BatchNorm2d(WIDTH),
            nn.ReLU(),
        ),
        *(nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, num_classes)),
    )


BASE = ModelSpec(label="Tiny", build=build, image_size=SIDE)


@pytest.fixture
def tiny():
    """The base with weights from a seed, in evaluation mode."""
    torch.manual_seed(0)
    return build(CLASSES, 1, False).eval()


@pytest.fixture
def images():
    return torch.randn(4, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (24, 1, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    split = MemorySplit(pixels, torch.arange(24) % CLASSES)
    source = DataSource(name="made", sha256="d" * 64, digest_of="nothing", official=False)
    return ImageData(train=split, test=split, classes=tuple("abc"), channels=1, source=source)


@pytest.fixture(scope="module")
def make_spec():
    """Make the spec of the tiny model compressed in a way; its base is found by name."""

    def make(compression):
        spec = CompressedSpec(label="Tiny, smaller", base="tiny", compression=compression)
        return compressed_model(spec, BASE)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provision, "load_model", {"tiny": BASE}.__getitem__)
        yield make


def job_in(folder, compression, **changes):
    """Return the job of a cell whose weights are in a folder."""
    settings = Settings(
        threads=1,
        image_size=SIDE,
        training=RECIPE,
        checkpoint_minutes=0.0,
        measurement=MeasurementSettings(
            latency_rounds=20,
            latency_seconds=0.01,
            throughput_batch_sizes=(1,),
            throughput_seconds=0.01,
        ),
        **({compression: SECTIONS[compression]} | changes),
    )
    return Job(
        cell=Cell(dataset="emnist", model="smaller", device="cpu"),
        settings=settings,
        data_dir=folder,
        data_file=None,
        weights_dir=folder,
        results_dir=folder,
        offline=True,
        command="",
    )


@pytest.fixture
def make_job(tmp_path):
    return partial(job_in, tmp_path / "weights")
