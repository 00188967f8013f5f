"""Bytes of weights and the peak of a forward pass, derived by hand."""

import platform

import pytest
import torch
import torchvision
from torch import nn

from harness.errors import CellError
from harness.measure import memory, process_memory
from harness.measure.memory import measure_peak_memory, measure_weights_mb
from harness.measure.networks import meta_copy
from harness.measure.process_memory import measure_process_peak_mb

glibc_only = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="the cross-check needs Linux with glibc"
)


@pytest.fixture
def no_child(monkeypatch):
    """Leave out the cross-check, which takes seconds."""
    monkeypatch.setattr(memory, "measure_process_peak_mb", lambda *_: (None, "left out"))


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
def test_peak_by_hand(no_child, network, floats):
    peak = measure_peak_memory(network, torch.zeros(1, 1, 4, 4))
    assert peak.peak_memory_mb == floats * 4 / 1e6


def test_all_fields(no_child):
    peak = measure_peak_memory(CHAIN, torch.zeros(1, 1, 4, 4))
    assert peak.weights_mb == (20 + 99) * 4 / 1e6
    assert (peak.peak_process_mb, peak.peak_process_reason) == (None, "left out")
    assert "meta" in peak.method


def test_the_peak_grows_with_the_batch(no_child):
    peak = measure_peak_memory(CHAIN, torch.zeros(3, 1, 4, 4))
    assert peak.peak_memory_mb == 3 * 64 * 4 / 1e6


@pytest.mark.parametrize(
    ("name", "peak_mb", "weights_mb"),
    [("resnet50", 13 * 56 * 56 * 64 * 4 / 1e6, 94.3), ("vgg16", 2 * 224**2 * 64 * 4 / 1e6, 537.2)],
)
def test_well_known_networks_with_10_classes(no_child, name, peak_mb, weights_mb):
    with torch.device("meta"):
        network = torchvision.models.get_model(name, weights=None, num_classes=10)
    peak = measure_peak_memory(network, torch.empty(1, 3, 224, 224))
    assert peak.peak_memory_mb == peak_mb
    assert peak.weights_mb == pytest.approx(weights_mb, abs=0.1)


def test_a_network_whose_path_depends_on_values_is_refused_in_one_line():
    class Routed(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else x + 1

    with pytest.raises(CellError, match=r"^peak memory cannot be followed on the meta device: \S+"):
        measure_peak_memory(Routed(), torch.zeros(1, 1, 4, 4))


@glibc_only
def test_a_process_grows_by_what_the_operators_return():
    # Images of sides 176, 224, ... 416, two at a time, without scratch memory. None fits into the
    # place of those before: a process that kept freed memory would grow by a quarter more.
    network = nn.Sequential(*[nn.ZeroPad2d(24) for _ in range(6)])
    peak = measure_peak_memory(network, torch.zeros(1, 16, 128, 128))
    assert peak.peak_memory_mb == (368**2 + 416**2) * 16 * 4 / 1e6
    assert peak.peak_process_reason is None
    assert peak.peak_process_mb == pytest.approx(peak.peak_memory_mb, rel=0.05)


@glibc_only
def test_a_network_that_cannot_be_handed_to_a_process_has_a_reason():
    class Local(nn.Module):
        pass

    peak, reason = measure_process_peak_mb(meta_copy(Local()), torch.zeros(1, device="meta"))
    assert peak is None
    assert reason.startswith("no process could be measured: ")
    assert "Local" in reason


@glibc_only
def test_what_breaks_in_the_process_is_told():
    # a shape that does not fit: the error is the child's
    network, example = meta_copy(nn.Linear(4, 3)), torch.zeros(1, 5, device="meta")
    peak, reason = measure_process_peak_mb(network, example)
    assert peak is None
    assert reason.startswith("no process could be measured: RuntimeError: ")
    assert "mat1 and mat2 shapes cannot be multiplied" in reason


def test_other_systems_have_a_reason(monkeypatch):
    monkeypatch.setattr(process_memory.platform, "system", lambda: "Darwin")
    network, example = meta_copy(nn.Linear(4, 3)), torch.zeros(1, 4, device="meta")
    assert measure_process_peak_mb(network, example) == (None, "needs Linux with glibc")


@pytest.mark.gpu
def test_the_allocator_of_a_gpu_sees_the_same_results():
    network = nn.Sequential(nn.Upsample(scale_factor=8), nn.Sigmoid()).cuda()
    peak = measure_peak_memory(network, torch.zeros(1, 16, 64, 64, device="cuda"))
    assert peak.peak_memory_mb == pytest.approx(2 * 512 * 512 * 16 * 4 / 1e6, rel=0.05)
    assert peak.peak_process_reason == "CUDA's allocator is asked instead"
