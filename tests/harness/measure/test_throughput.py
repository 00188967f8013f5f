"""The search for the best batch size, on a clock that only the network moves."""

from itertools import islice

import pytest
import torch
from torch import nn

from harness.errors import CellError, RequestError
from harness.measure import calls, throughput
from harness.measure.throughput import measure_throughput

IMAGE = torch.zeros(1, 3, 2, 2)


class Network:
    """Takes the given seconds for a batch; notes the batch sizes of its calls."""

    def __init__(self, seconds_for):
        self.seconds_for = seconds_for
        self.now = 0.0
        self.sizes = []

    def __call__(self, batch):
        self.sizes.append(len(batch))
        self.now += self.seconds_for(len(batch))


@pytest.fixture
def run(monkeypatch):
    def measure(seconds_for, batch_sizes=(1, 4, 16, 64), seconds=10):
        network = Network(seconds_for)
        monkeypatch.setattr(calls, "perf_counter", lambda: network.now)
        found = measure_throughput(network, IMAGE, batch_sizes=batch_sizes, seconds=seconds)
        return found, network

    return measure


def test_a_growing_rate_goes_to_the_largest_batch(run):
    found, _ = run(lambda n: 1 + n / 4)
    assert (found.batch_size, found.images_per_s) == (64, pytest.approx(64 / 17))


def test_the_search_ends_when_two_batches_gain_no_more_than_5_percent(run):
    seconds = {1: 1.0, 4: 2.0, 16: 7.75, 64: 31.0, 256: 1.0}
    found, network = run(seconds.__getitem__, batch_sizes=tuple(seconds))
    assert (found.batch_size, found.images_per_s) == (16, pytest.approx(16 / 7.75))
    assert 256 not in network.sizes


def test_one_batch_that_suits_a_kernel_badly_does_not_end_it(run):
    found, _ = run({1: 1.0, 4: 5.0, 16: 4.0, 64: 17.0}.__getitem__)
    assert (found.batch_size, found.images_per_s) == (16, 4)


def test_a_larger_batch_that_is_slower_is_not_best(run):
    found, _ = run({1: 1.0, 4: 2.0, 16: 16.0}.__getitem__, batch_sizes=(1, 4, 16))
    assert (found.batch_size, found.images_per_s) == (4, 2)


def test_one_call_goes_untimed_and_then_as_many_as_fit(run):
    durations = iter([50.0] + [1.0] * 100)
    found, network = run(lambda _: next(durations), batch_sizes=(2,))
    assert network.sizes == [2] * 11
    assert found.images_per_s == 2


def test_one_call_is_timed_however_long_it_takes(run):
    found, network = run(lambda _: 100.0, batch_sizes=(2,), seconds=0)
    assert network.sizes == [2, 2]
    assert found.images_per_s == 0.02


def too_large_from(size, error):
    def seconds_for(n):
        if n >= size:
            raise error
        return 1.0

    return seconds_for


FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def test_a_batch_too_large_for_memory_ends_the_search(run):
    found, network = run(too_large_from(16, FULL))
    assert (found.batch_size, found.images_per_s) == (4, 4)
    assert 64 not in network.sizes


def test_memory_that_a_cpu_does_not_have_ends_the_search():
    def network(batch):
        if len(batch) > 1:
            torch.empty(10**15)

    found = measure_throughput(network, IMAGE, batch_sizes=(1, 4), seconds=0.001)
    assert found.batch_size == 1


def test_when_nothing_fits_the_cell_fails(run):
    with pytest.raises(CellError, match="a batch of 2 does not fit in memory"):
        run(too_large_from(1, FULL), batch_sizes=(2, 4))


def test_other_errors_are_not_swallowed(run):
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        run(too_large_from(4, RuntimeError("shapes cannot be multiplied")))


@pytest.mark.parametrize("sizes", [(), (4, 1), (1, 1)])
def test_batch_sizes_must_rise(run, sizes):
    with pytest.raises(RequestError, match="batch sizes must rise"):
        run(lambda _: 1.0, batch_sizes=sizes)


def test_the_batch_repeats_the_example_and_keeps_its_layout():
    example = torch.rand(1, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    seen = []
    measure_throughput(seen.append, example, batch_sizes=(4,), seconds=0.001)
    assert torch.equal(seen[0], example.expand(4, 3, 2, 2))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


def test_a_module_runs_in_evaluation_mode_and_is_put_back():
    network = nn.Dropout(1.0).train()
    outputs = []
    network.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    measure_throughput(network, torch.ones(1, 3, 2, 2), batch_sizes=(1,), seconds=0.001)
    assert outputs[0].sum() == 12
    assert network.training


@pytest.mark.gpu
def test_a_gpu_is_waited_for():
    network = nn.Conv2d(3, 64, 3).cuda()
    image = torch.zeros(1, 3, 224, 224, device="cuda")
    found = measure_throughput(network, image, batch_sizes=(1, 8), seconds=0.2)
    assert 0 < found.images_per_s < 1e6


def test_a_gpu_is_given_larger_batches_than_the_settings_name():
    assert [*islice(throughput._sizes((1, 4), endless=True), 4)] == [1, 4, 16, 64]
    assert [*throughput._sizes((1, 4), endless=False)] == [1, 4]
