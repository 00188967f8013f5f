"""Comparisons of latency on the embedded digits, with networks of a few weights.

All processes of a comparison are this one.
"""

import tempfile
from datetime import UTC, datetime

import pytest
import torch
from torch import nn

from harness.jobs import LatencyJob
from harness.measure.runtime_builders import BUILDERS, Built
from harness.run import latency
from harness.run.latency import time_models
from harness.run.latency_pool import pool_processes
from harness.settings_spec import MeasurementSettings, Settings
from harness.spec import ModelSpec, NetworkPath
from tests import jobs

SIDE = 8


class Fragile(nn.Sequential):
    """What the runtime of these tests cannot take."""


class Routed(nn.Module):
    """Sends images by their first pixel; notes what it was given."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images):
        return images.flatten(1)[:, :10]

    def prepare_for_inference(self):
        return self

    def route(self, images):
        self.seen.append(images.clone())
        return torch.zeros(len(images), dtype=torch.int64)

    def paths(self):
        return (NetworkPath(name="only", classes=tuple(range(10)), network=self),)


ROUTED = Routed()


def build(kind):
    def build(classes, channels, _pretrained):
        return kind(nn.Flatten(), nn.Linear(channels * SIDE**2, classes))

    return build


SPECS = {
    "plain": ModelSpec(label="Plain", build=build(nn.Sequential), image_size=SIDE),
    "fragile": ModelSpec(label="Fragile", build=build(Fragile), image_size=SIDE),
    "routed": ModelSpec(
        label="Routed",
        build=lambda *_: ROUTED,
        image_size=SIDE,
        load_published=lambda _job, _classes: (ROUTED, "5ba256"),
    ),
}


@pytest.fixture(autouse=True)
def _own_surroundings(tmp_path, monkeypatch):
    # Whatever is really measured on this machine meanwhile is not waited for.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(latency, "load_model", SPECS.__getitem__)
    ROUTED.seen.clear()

    def compile_network(network, _example):
        if isinstance(network, Fragile):
            raise TypeError("too fragile")
        return Built(call=lambda images: network(images) * 1.0001, version="7", method="by hand")

    monkeypatch.setitem(BUILDERS, "compile", compile_network)


@pytest.fixture
def make_job(tmp_path):
    def make_job(*models, run_in=("eager",), reference="plain", processes=1, **settings):
        quick = MeasurementSettings(
            latency_rounds=20, latency_seconds=0.01, latency_processes=processes
        )
        chosen = Settings(threads=1, measurement=quick, **({"image_size": SIDE} | settings))
        each = [jobs.make_job("digits", model, tmp_path, settings=chosen) for model in models]
        return LatencyJob(jobs=tuple(each), reference=reference, runtimes=run_in, command="again")

    return make_job


def run_latency_job(job):
    times = [time_models(job, number) for number in range(job.processes)]
    return pool_processes(job, times, datetime.now(UTC))


def rows_of(record):
    return {(row.model, row.runtime): row for row in record.rows}
