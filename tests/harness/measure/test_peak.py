"""Arithmetic per second on a clock that only the products move."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from harness.measure import calls, peak
from harness.measure.peak import measure_peak

MATRIX_SIDE = 8
# Of one batch: every output is a sum over 256 channels and 3×3 pixels, padded to the same size.
CONVOLUTION_FLOPS = 2 * (8 * 28 * 28 * 256) * (256 * 3 * 3)


class Products:
    """Stands in for both products: each moves the clock by its next duration in seconds."""

    def __init__(self):
        self.now = 0.0
        self.seen = {"matrix": [], "convolution": []}
        self.seconds = {"matrix": [1.0], "convolution": [1.0]}

    def run(self, name, tensor):
        durations = self.seconds[name]
        self.now += durations[len(self.seen[name]) % len(durations)]
        self.seen[name].append(tensor)
        return tensor


@pytest.fixture
def products(monkeypatch):
    fake = Products()

    def convolve(images, weights, padding):
        assert (weights.shape, padding) == ((256, 256, 3, 3), 1)
        return fake.run("convolution", images)

    monkeypatch.setattr(calls, "perf_counter", lambda: fake.now)
    monkeypatch.setattr(torch, "mm", lambda left, right: fake.run("matrix", left))
    monkeypatch.setattr(peak, "conv2d", convolve)
    monkeypatch.setattr(peak, "_SIDE", {"cpu": MATRIX_SIDE, "cuda": MATRIX_SIDE})
    return fake


def test_a_matrix_products_rate(products):
    products.seconds = {"matrix": [2e-9], "convolution": [1e9]}
    found = measure_peak("cpu")
    assert found.gflops_per_s == pytest.approx(2 * MATRIX_SIDE**3 / 2)
    assert found.method == "matrix product, 8×8, best of 8"
    assert products.seen["matrix"][0].shape == (MATRIX_SIDE, MATRIX_SIDE)


def test_a_convolutions_rate(products):
    products.seconds = {"matrix": [1e9], "convolution": [0.5]}
    found = measure_peak("cpu")
    assert found.gflops_per_s == pytest.approx(CONVOLUTION_FLOPS / 0.5 / 1e9)
    assert found.method == "3×3 convolution, 256 channels, 8 images of 28 pixels, best of 8"
    images = products.seen["convolution"][0]
    assert images.shape == (8, 256, 28, 28)
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_the_best_time_counts_and_the_first_call_does_not(products):
    # nine calls: one before, eight timed; the fastest of all is not timed
    products.seconds = {"matrix": [0.1, 4, 4, 4, 2, 4, 4, 4, 4], "convolution": [1e9]}
    assert measure_peak("cpu").gflops_per_s == pytest.approx(2 * MATRIX_SIDE**3 / 2 / 1e9)
    assert {name: len(calls) for name, calls in products.seen.items()} == {
        "matrix": 9,
        "convolution": 9,
    }


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_both_products_are_of_the_precision_asked_for(products, precision, dtype):
    measure_peak("cpu", precision)
    assert {call.dtype for calls in products.seen.values() for call in calls} == {dtype}


def test_an_accelerator_has_no_convolution(products, monkeypatch):
    real = torch.randn
    monkeypatch.setattr(torch, "randn", lambda *shape, device: real(*shape, device="cpu"))
    products.seconds = {"matrix": [1e9], "convolution": [1e-9]}
    found = measure_peak("cuda:1")
    assert found.method.startswith("matrix product")
    assert products.seen["convolution"] == []


def test_the_operations_of_the_convolution_are_those_that_torch_counts():
    with FlopCounterMode(display=False) as counted:
        torch.nn.functional.conv2d(
            torch.zeros(8, 256, 28, 28, device="meta"),
            torch.zeros(256, 256, 3, 3, device="meta"),
            padding=1,
        )
    assert counted.get_total_flops() == CONVOLUTION_FLOPS


@pytest.mark.gpu
def test_a_gpu_does_more_in_bf16():
    assert measure_peak("cuda", "bf16").gflops_per_s > measure_peak("cuda").gflops_per_s > 1000
