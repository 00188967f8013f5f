"""Costs of an image, in networks where all images take the same layers and in routed ones."""

import pytest
import torch
from timm.models.byobnet import RepVggBlock
from torch import nn

from harness.compression.quantization import with_any_ranges
from harness.measure.memory import measure_peak_mb
from harness.measure.peak import Peak
from harness.networks.adapter import RoutedAdapter
from harness.run import costs as costs_module
from harness.run.costs import measure_costs, measure_routed_costs
from harness.settings_spec import MeasurementSettings, Settings
from harness.spec import NetworkPath, RoutedNetwork
from tests.jobs import make_job

QUICK = MeasurementSettings(
    latency_rounds=20, latency_seconds=0.01, throughput_batch_sizes=(1, 3), throughput_seconds=0.01
)
JOB = make_job(settings=Settings(measurement=QUICK))
PROCESS_MB, PEAK_GFLOPS_PER_S = 12.5, 100.0


@pytest.fixture(autouse=True, scope="module")
def _no_child_and_no_calibration():
    """Leave out two measures that take seconds and have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        peak = Peak(gflops_per_s=PEAK_GFLOPS_PER_S, method="made up")
        patch.setattr(costs_module, "measure_process_peak_mb", lambda *_: (PROCESS_MB, None))
        patch.setattr(costs_module, "measure_peak", lambda _: peak)
        yield


class NeedsData(nn.Module):
    """Takes a path that depends on values, so that it cannot run on the meta device."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 3)

    def forward(self, images):
        scale = 2.0 if images.sum().item() > 0 else 1.0
        return scale * self.head(images.flatten(1))


def test_what_cannot_be_counted_has_reasons():
    costs = measure_costs(NeedsData(), torch.rand(1, 1, 8, 8), JOB)
    assert costs.memory.weights_mb == 4 * (64 * 3 + 3) / 1e6
    assert costs.latency.latency_ms_p50 > 0
    for name in ("gmacs", "gflops", "gmacs_thop", "peak_memory_mb", "peak_process_mb"):
        assert figures(costs)[name] is None
        assert "meta device" in costs.not_measured[name]


def test_a_re_parameterised_network_is_timed_in_the_form_that_is_deployed(monkeypatch):
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    network = nn.Sequential(RepVggBlock(4, 4), *head).eval()
    timed, measure = [], costs_module.measured.measure_latency
    monkeypatch.setattr(
        costs_module.measured,
        "measure_latency",
        lambda networks, *args, **kwargs: (
            timed.append(networks["network"]) or measure(networks, *args, **kwargs)
        ),
    )
    costs = measure_costs(network, torch.rand(1, 4, 8, 8), JOB)
    assert costs.operations.network_forms == "latency: deployed; all else: trained"
    assert sum(p.numel() for p in timed[0].parameters()) == 148 + 15
    assert costs.operations.params == 184 + 15
    plain = measure_costs(nn.Sequential(*head), torch.rand(1, 4, 8, 8), JOB)
    assert plain.operations.network_forms == ""


def test_int8_is_measured_as_what_it_is():
    torch.manual_seed(0)
    image = torch.rand(1, 1, 8, 8)
    convolution, pool = nn.Conv2d(1, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1)
    network = nn.Sequential(convolution, nn.ReLU(), pool, nn.Flatten(), nn.Linear(4, 3))
    costs = measure_costs(with_any_ranges(network.eval(), "x86", image), image, JOB)
    assert costs.operations.gmacs == (64 * 4 * 9 + 4 * 3) / 1e9
    assert costs.operations.params == 4 * 9 + 4 + 4 * 3 + 3
    # A byte a value: the image, and the convolution's output.
    assert costs.memory.peak_memory_mb == (64 + 4 * 64) / 1e6
    # int8 weights; for each channel a bias, a scale and a zero point; and a scale and a zero point
    # for the image, what the flattening and both layers return.
    weights = 4 * 9 + 4 * 3 + (4 + 3) * (4 + 4 + 1) + 4 * (4 + 8)
    assert costs.memory.weights_mb == pytest.approx(weights / 1e6)
    assert costs.latency.latency_ms_p50 > 0
    for name in ("peak_process_mb", "peak_training_memory_mb", "throughput_peak_share"):
        assert figures(costs)[name] is None
        assert costs.not_measured[name]


def figures(costs):
    parts = (costs.latency, costs.throughput, costs.memory, costs.operations, costs.energy)
    return {name: value for part in parts for name, value in vars(part).items()}


class Fork(nn.Module):
    """Dark images are class 0 by a network of 64 products, light ones 1 or 2 by one of 1,024."""

    def __init__(self):
        super().__init__()
        self.small = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))
        self.large = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Linear(16, 2))
        self.routed = set()

    def prepare_for_inference(self):
        return self.eval()

    def route(self, images):
        self.routed.update(round(level, 1) for level in images.mean((1, 2, 3)).tolist())
        return (images.mean((1, 2, 3)) > 0.5).long()

    def paths(self):
        return (
            NetworkPath(name="large", classes=(1, 2), network=self.large),
            NetworkPath(name="small", classes=(0,), network=self.small),
        )


def images_of(*levels):
    return torch.stack([torch.full((1, 8, 8), level) for level in levels])


def measure_fork(fork, *levels):
    images = images_of(*levels)
    predictions = fork.route(images)
    fork.routed.clear()
    return measure_routed_costs(RoutedAdapter(fork, fork), images, predictions, JOB)


@pytest.fixture(scope="module")
def fork():
    return Fork()


@pytest.fixture(scope="module")
def costs(fork):
    return measure_fork(fork, 0.1, 0.2, 0.3, 0.9)


def test_a_fork_is_a_routed_network_and_a_layer_is_not(fork):
    assert isinstance(fork, RoutedNetwork)
    assert not isinstance(nn.Linear(1, 1), RoutedNetwork)


def test_operations_are_the_mean_over_the_images_that_take_each_path(costs):
    assert costs.operations.gmacs == pytest.approx((3 * 64 + 1056) / 4 / 1e9)
    assert costs.operations.gflops == pytest.approx(2 * costs.operations.gmacs)
    assert costs.operations.params == 65 + (64 * 16 + 16) + (16 * 2 + 2)
    assert costs.memory.weights_mb == pytest.approx(4 * costs.operations.params / 1e6)
    assert [(p.name, p.images, p.classes) for p in costs.paths] == [
        ("small", 3, 1),
        ("large", 1, 2),
    ]
    assert [p.gmacs for p in costs.paths] == pytest.approx([64e-9, 1056e-9])
    assert [p.params for p in costs.paths] == [65, costs.operations.params - 65]
    assert all(p.latency_ms_p50 > 0 for p in costs.paths)
    assert costs.not_measured.get("gmacs_thop") is None


def test_peak_memory_is_that_of_the_path_with_most_operations(costs, fork):
    assert costs.memory.peak_memory_mb == measure_peak_mb(fork.large, images_of(0.9))
    assert costs.memory.peak_process_mb == PROCESS_MB


def test_the_share_of_the_peak_is_that_of_the_mean_operations(costs):
    rate = costs.throughput.throughput_images_per_s * costs.operations.gflops
    assert costs.throughput.throughput_peak_share == pytest.approx(rate / PEAK_GFLOPS_PER_S)


def test_latency_is_over_the_images_in_turn(costs, fork):
    # Every image several times: alone in the rounds, and in the batches of the throughput.
    assert fork.routed == {0.1, 0.2, 0.3, 0.9}


def test_a_path_that_no_image_takes_is_left_out():
    costs = measure_fork(Fork(), 0.1, 0.2)
    assert [path.name for path in costs.paths] == ["small"]
    assert costs.operations.gmacs == pytest.approx(64e-9)
