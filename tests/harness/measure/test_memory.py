"""Bytes of weights and the peak of a forward pass, derived by hand."""

import multiprocessing
import platform
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import torch
import torchvision
from torch import nn

from harness.errors import CellError
from harness.measure import process_memory
from harness.measure.memory import measure_peak_mb, measure_weights_mb
from harness.measure.process_memory import measure_process_peak_mb

glibc_only = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="the cross-check needs Linux with glibc"
)


class Residual(nn.Module):
    def forward(self, x):
        y = x + 1
        z = y + 1
        return y + z


class AddInPlace(nn.Module):
    def forward(self, x):
        y = x + 1
        y += 1
        return y.view(-1)[:3]


def test_weights_are_parameters_and_buffers():
    # 2·9 + 2 floats; 2 + 2 parameters, 2 + 2 running statistics and one int64
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    assert measure_weights_mb(network) == (20 * 4 + 8 * 4 + 8) / 1e6


def test_shared_weights_count_once():
    first, second, third = nn.Linear(4, 4, bias=False), nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    third.weight.data = first.weight.data.T
    assert measure_weights_mb(nn.Sequential(first, second, third)) == (16 + 4 + 4) * 4 / 1e6


def test_parts_of_one_storage_count_by_what_is_used():
    whole = torch.zeros(100)
    network = nn.Module()
    network.first = nn.Parameter(whole[:10])
    network.second = nn.Parameter(whole[10:30])
    assert measure_weights_mb(network) == 30 * 4 / 1e6


CHAIN = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3))


@pytest.mark.parametrize(
    ("network", "floats"),
    [
        # conv and ReLU each hold 2·4·4; the input, 16, and the weights are there before
        (CHAIN, 32 + 32),
        (nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(inplace=True)), 32),
        # three results of 16 at once; the fourth of a chain finds the first gone
        (Residual(), 3 * 16),
        (nn.Sequential(nn.Sigmoid(), nn.ReLU(), nn.Tanh(), nn.Sigmoid()), 2 * 16),
        # in place and a view: nothing new
        (AddInPlace(), 16),
        # a view of the input
        (nn.Flatten(), 0),
        (nn.Identity(), 0),
    ],
    ids=["chain", "in_place", "residual", "four", "view", "view_of_input", "identity"],
)
@pytest.mark.parametrize("on_meta", [True, False])
def test_peak_by_hand(network, floats, on_meta):
    assert measure_peak_mb(network, torch.zeros(1, 1, 4, 4), on_meta=on_meta) == floats * 4 / 1e6


def test_the_peak_grows_with_the_batch():
    assert measure_peak_mb(CHAIN, torch.zeros(3, 1, 4, 4)) == 3 * 64 * 4 / 1e6


@pytest.mark.parametrize(
    ("name", "peak_mb", "weights_mb"),
    [("resnet50", 13 * 56 * 56 * 64 * 4 / 1e6, 94.3), ("vgg16", 2 * 224**2 * 64 * 4 / 1e6, 537.2)],
)
def test_well_known_networks_with_10_classes(name, peak_mb, weights_mb):
    with torch.device("meta"):
        network = torchvision.models.get_model(name, weights=None, num_classes=10)
    assert measure_peak_mb(network, torch.empty(1, 3, 224, 224)) == peak_mb
    assert measure_weights_mb(network) == pytest.approx(weights_mb, abs=0.1)


def test_a_network_whose_path_depends_on_values_is_refused_in_one_line():
    class Routed(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else x + 1

    with pytest.raises(CellError, match=r"^peak memory cannot be followed on the meta device: \S+"):
        measure_peak_mb(Routed(), torch.zeros(1, 1, 4, 4))


@glibc_only
def test_a_process_grows_by_what_the_operators_return():
    # Images of sides 176, 224, ... 416, two at a time, without scratch memory. None fits into the
    # place of those before: a process that kept freed memory would grow by a quarter more.
    network = nn.Sequential(*[nn.ZeroPad2d(24) for _ in range(6)])
    images = torch.zeros(1, 16, 128, 128)
    peak_mb = measure_peak_mb(network, images)
    assert peak_mb == (368**2 + 416**2) * 16 * 4 / 1e6
    assert measure_process_peak_mb(network, images) == (pytest.approx(peak_mb, rel=0.05), None)


@glibc_only
def test_a_network_that_cannot_be_handed_to_a_process_has_a_reason():
    class Local(nn.Module):
        pass

    peak, reason = measure_process_peak_mb(Local(), torch.zeros(1))
    assert peak is None
    assert reason.startswith("no process could be measured: ")
    assert "Local" in reason


@pytest.fixture
def child_here(monkeypatch):
    """Let the child's function run in this process, whose memory allocator stays as it is."""

    def start(_context, *, target, args, daemon):
        return SimpleNamespace(start=lambda: target(*args), join=lambda: None)

    monkeypatch.setattr(multiprocessing.context.SpawnContext, "Process", start)
    monkeypatch.setattr(process_memory.ctypes, "CDLL", lambda _: MagicMock())


@glibc_only
def test_what_breaks_in_the_process_is_told(child_here):
    peak, reason = measure_process_peak_mb(nn.Linear(4, 3), torch.zeros(1, 5))
    assert peak is None
    assert reason.startswith("no process could be measured: RuntimeError: ")
    assert "mat1 and mat2 shapes cannot be multiplied" in reason


@glibc_only
def test_a_process_that_dies_has_a_reason(child_here, monkeypatch):
    monkeypatch.setattr(process_memory, "_send_peak_bytes", lambda *_: None)
    _, reason = measure_process_peak_mb(nn.Linear(4, 3), torch.zeros(1, 4))
    assert reason == "no process could be measured: it ended without an answer"


def test_other_systems_have_a_reason(monkeypatch):
    monkeypatch.setattr(process_memory.platform, "system", lambda: "Darwin")
    found = measure_process_peak_mb(nn.Linear(4, 3), torch.zeros(1, 4))
    assert found == (None, "needs Linux with glibc")


@pytest.mark.gpu
def test_the_allocator_of_a_gpu_sees_the_same_results():
    network = nn.Sequential(nn.Upsample(scale_factor=8), nn.Sigmoid()).cuda()
    peak_mb = measure_peak_mb(network, torch.zeros(1, 16, 64, 64, device="cuda"))
    assert peak_mb == pytest.approx(2 * 512 * 512 * 16 * 4 / 1e6, rel=0.05)
