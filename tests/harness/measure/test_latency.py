"""Order, number and clock of timed calls; no test looks at a real clock."""

import pytest
import torch
from torch import nn

from harness.errors import RequestError
from harness.measure.latency import measure_latency

IMAGE = torch.zeros(1, 1, 2, 2)


class Candidate:
    """Notes each call; takes the given milliseconds for untimed and timed calls in turn."""

    def __init__(self, clock, log, name, untimed_ms=100, timed_ms=3):
        self.clock, self.log, self.name = clock, log, name
        self.durations_ms = (untimed_ms, timed_ms)
        self.calls = 0

    def __call__(self, _image):
        self.clock.now_ns += self.durations_ms[self.calls % 2] * 1_000_000
        self.calls += 1
        self.log.append(self.name)


def run(clock, names="a", *, rounds=20, seconds=1e9, seed=0):
    log = []
    networks = {name: Candidate(clock, log, name) for name in names}
    examples = dict.fromkeys(networks, IMAGE)
    return measure_latency(networks, examples, rounds=rounds, seconds=seconds, seed=seed), log


def test_only_every_second_call_is_timed(clock):
    found, log = run(clock)
    assert len(log) == 40
    assert found["a"].latency_rounds == 20
    assert found["a"].latency_ms_p05 == found["a"].latency_ms_p99 == 3


@pytest.mark.parametrize(
    ("seconds", "rounds"),
    # a round takes 103 ms; the 25th is the first that ends after 2.5 s
    [(1e9, 30), (2.5, 25), (0.001, 20)],
)
def test_rounds_are_at_least_20_and_end_with_the_time(clock, seconds, rounds):
    found, _ = run(clock, rounds=30, seconds=seconds)
    assert found["a"].latency_rounds == rounds


def test_each_round_visits_all_in_its_own_order_untimed_then_timed(clock):
    _, log = run(clock, "abc", rounds=50)
    assert len(log) == 50 * 3 * 2
    assert log[::2] == log[1::2]
    orders = [tuple(log[i : i + 6 : 2]) for i in range(0, len(log), 6)]
    assert {"".join(sorted(order)) for order in orders} == {"abc"}
    assert len(set(orders)) == 6


def test_the_seed_decides_the_order(clock):
    assert run(clock, "abc", seed=1)[1] == run(clock, "abc", seed=1)[1]
    assert run(clock, "abc", seed=1)[1] != run(clock, "abc", seed=2)[1]


def test_times_go_to_their_own_network(clock):
    networks = {
        "fast": Candidate(clock, [], "fast", timed_ms=1),
        "slow": Candidate(clock, [], "slow", timed_ms=8),
    }
    examples = dict.fromkeys(networks, IMAGE)
    found = measure_latency(networks, examples, rounds=20, seconds=1e9, seed=3)
    assert (found["fast"].latency_ms_p50, found["slow"].latency_ms_p50) == (1, 8)


def test_percentiles(clock):
    def network(image):
        network.calls += 1
        clock.now_ns += network.calls // 2 * 1_000_000  # timed calls take 1, 2, ... 101 ms

    network.calls = 0
    found = measure_latency({"n": network}, {"n": IMAGE}, rounds=101, seconds=1e9, seed=0)["n"]
    assert found.latency_ms_p05 == pytest.approx(6)
    assert found.latency_ms_p50 == pytest.approx(51)
    assert found.latency_ms_p95 == pytest.approx(96)
    assert found.latency_ms_p99 == pytest.approx(100)


def test_a_module_runs_in_evaluation_and_inference_mode():
    seen = set()

    class Watched(nn.Module):
        def forward(self, x):
            seen.add((self.training, torch.is_inference_mode_enabled()))
            return x

    network = Watched().train()
    measure_latency({"n": network}, {"n": IMAGE}, rounds=20, seconds=0.001, seed=0)
    assert seen == {(False, True)}
    assert network.training


def test_too_few_rounds():
    with pytest.raises(RequestError, match="at least 20 rounds, not 19"):
        measure_latency({}, {}, rounds=19, seconds=1, seed=0)


def test_names_that_do_not_match():
    with pytest.raises(RequestError, match=r"networks \['a'\] but examples \['b'\]"):
        measure_latency({"a": nn.Identity()}, {"b": IMAGE}, rounds=20, seconds=1, seed=0)


@pytest.mark.gpu
def test_a_gpu_is_timed_by_events():
    network = nn.Conv2d(3, 64, 3).cuda()
    image = torch.zeros(1, 3, 224, 224, device="cuda")
    found = measure_latency({"n": network}, {"n": image}, rounds=20, seconds=1, seed=0)["n"]
    assert 0 < found.latency_ms_p05 <= found.latency_ms_p50 <= found.latency_ms_p99
