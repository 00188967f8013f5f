"""The duration of a training step, by a clock that the network itself advances."""

import dataclasses

import pytest
from torch import nn

from harness.settings import load_settings
from harness.training import timing


class Clock:
    """Seconds that pass only when a network says so."""

    now = 0.0

    def perf_counter(self):
        return self.now


class Slow(nn.Module):
    """A network whose step takes so long, and longer by so much for each image."""

    def __init__(self, clock, step, image):
        super().__init__()
        self.layer = nn.Linear(12, 3)
        self.clock, self.step, self.image, self.sizes = clock, step, image, []

    def forward(self, images):
        self.sizes.append(len(images))
        self.clock.now += self.step + self.image * len(images)
        return self.layer(images.flatten(1))


@pytest.mark.parametrize(
    ("step", "image", "sizes"),
    [
        pytest.param(0.05, 0.0, {2, 8}, id="launch-bound"),
        pytest.param(0.1, 0.02, {2, 8}, id="both"),
        pytest.param(0.0, 1.5, {2}, id="the larger batch would take too long"),
    ],
)
def test_a_step_takes_what_its_launches_and_its_images_take(monkeypatch, step, image, sizes):
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    training = dataclasses.replace(load_settings("digits", "resnet").training, batch_size=64)
    network = Slow(clock, step, image)
    seconds = timing.measure_step_seconds(network, training, "cpu", (3, 2, 2))
    assert seconds == pytest.approx(step + 64 * image)
    assert set(network.sizes) == sizes
