"""Random pixels in place of a data set's images, where only their shape matters."""

from __future__ import annotations

import hashlib

import torch

from harness.data.loading import DataSource, ImageData, load_job_data
from harness.data.splits import MemorySplit
from harness.jobs import Job
from harness.registry import find_dataset
from harness.spec import ModelSpec


def load_or_stand_in(job: Job, spec: ModelSpec) -> ImageData:
    """Return the images of a job; for random weights, one random image of the same shape.

    The time that a network takes does not depend on what is in the image, so latencies of networks
    with random weights can be compared at the shape of a data set that is not at hand.

    Raises:
        RequestError: The images are wanted, and not there or not right.
    """
    dataset = find_dataset(job.cell.dataset)
    if job.settings.weights != "random" or job.data_file is not None or dataset is None:
        return load_job_data(job, spec)
    shape = (1, dataset.channels, dataset.image_size, dataset.image_size)
    generator = torch.Generator().manual_seed(job.settings.seed)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    split = MemorySplit(pixels, torch.zeros(1, dtype=torch.int64))
    source = DataSource(
        name="random pixels",
        sha256=hashlib.sha256(pixels.numpy().tobytes()).hexdigest(),
        digest_of="the pixels",
        official=False,
    )
    return ImageData(
        train=split, test=split, classes=dataset.classes, channels=dataset.channels, source=source
    )
